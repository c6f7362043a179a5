// Ids and names. Each is a validated string in a type of its own, so that a session's id cannot be mistaken for a
// generation's, and so that no unchecked input reaches a grain's key, a path or a header.
using System.Diagnostics.CodeAnalysis;

namespace Atelier.Contracts;

/// <summary>The rule for names: 1 to 64 ASCII letters, digits, '-' and '_', starting with a letter or digit.</summary>
public static class Names
{
    /// <summary>Maximum length of a name, in characters.</summary>
    public const int LengthMax = 64;

    /// <summary>The rule, for error messages.</summary>
    public const string Rule = "1 to 64 letters, digits, '-' or '_', starting with a letter or digit";

    /// <summary>Whether <paramref name="text"/> follows the rule.</summary>
    public static bool AreValid([NotNullWhen(true)] string? text) =>
        text is { Length: > 0 and <= LengthMax } && char.IsAsciiLetterOrDigit(text[0])
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');
}

/// <summary>Spreads strings over partitions, the same way on every machine and in every release.</summary>
public static class StableParts
{
    /// <summary>
    /// Assigns a string to a partition. The assignment never changes, because stored data is found by it. The hash is
    /// not keyed: a client that chooses the string chooses the partition.
    /// </summary>
    /// <param name="text">The string.</param>
    /// <param name="parts">The number of partitions, at least 1.</param>
    /// <returns>0 to <paramref name="parts"/> - 1, by FNV-1a of 32 bits over the UTF-16 units.</returns>
    public static int Of(string text, int parts)
    {
        ArgumentNullException.ThrowIfNull(text);
        uint hash = 2166136261;
        foreach (char c in text)
        {
            hash = (hash ^ c) * 16777619;
        }

        return (int)(hash % (uint)parts);
    }
}

/// <summary>The id of a tenant, which owns work, limits and pictures.</summary>
/// <param name="Value">
/// The name; see <see cref="Names"/>. If an earlier tenant of that name was closed, the next one has a different id:
/// the name, '~' and a number.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.TenantId")]
public readonly record struct TenantId([property: Id(0)] string Value)
{
    /// <summary>How often a name can be reopened.</summary>
    public const int ReopeningsMax = 999;

    private const char Mark = '~'; // No name contains it.

    /// <summary>Gets the name, which successive tenants may share.</summary>
    public string Name => Value.IndexOf(Mark, StringComparison.Ordinal) is >= 0 and int mark ? Value[..mark] : Value;

    /// <summary>
    /// Parses an untrusted id, such as the one in a key. A request to create a tenant contains only a name.
    /// </summary>
    public static bool TryParse(string? text, out TenantId id)
    {
        bool valid = text?.Split(Mark) switch
        {
            [var name] => Names.AreValid(name),
            [var name, var number] => Names.AreValid(name) && IsNumber(number),
            _ => false,
        };
        id = valid ? new TenantId(text!) : default;
        return valid;
    }

    /// <summary>The id of the tenant with this name after a number of reopenings.</summary>
    public TenantId Reopened(int times) => new($"{Name}{Mark}{times}");

    private static bool IsNumber(string text) =>
        text.Length is > 0 and <= 3 && text[0] != '0' && text.All(char.IsAsciiDigit);

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>The id of a session within a tenant; the client may choose it.</summary>
/// <param name="Value">The name; see <see cref="Names"/>.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionId")]
public readonly record struct SessionId([property: Id(0)] string Value)
{
    /// <summary>Parses an untrusted name.</summary>
    public static bool TryParse(string? text, out SessionId id)
    {
        bool valid = Names.AreValid(text);
        id = valid ? new SessionId(text!) : default;
        return valid;
    }

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>
/// The id of a generation within a tenant. The client may choose it; it makes every command on the generation
/// idempotent.
/// </summary>
/// <param name="Value">The name; see <see cref="Names"/>.</param>
[GenerateSerializer, Immutable, Alias("atelier.GenerationId")]
public readonly record struct GenerationId([property: Id(0)] string Value)
{
    /// <summary>Parses an untrusted name.</summary>
    public static bool TryParse(string? text, out GenerationId id)
    {
        bool valid = Names.AreValid(text);
        id = valid ? new GenerationId(text!) : default;
        return valid;
    }

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>A generation with its tenant: the key of its grain.</summary>
/// <param name="Tenant">The tenant.</param>
/// <param name="Id">The id within the tenant.</param>
[GenerateSerializer, Immutable, Alias("atelier.GenerationKey")]
public readonly record struct GenerationKey([property: Id(0)] TenantId Tenant, [property: Id(1)] GenerationId Id)
{
    /// <summary>Parses the output of <see cref="ToString"/>.</summary>
    public static bool TryParse(string? text, out GenerationKey key)
    {
        key = default;
        if (text?.Split('/') is not [var tenantText, var idText] || !TenantId.TryParse(tenantText, out TenantId tenant)
            || !GenerationId.TryParse(idText, out GenerationId id))
        {
            return false;
        }

        key = new GenerationKey(tenant, id);
        return true;
    }

    /// <summary>Tenant and id, separated by a slash, which neither of them can contain.</summary>
    public override string ToString() => $"{Tenant}/{Id}";
}

/// <summary>A session with its tenant: the key of its grain.</summary>
/// <param name="Tenant">The tenant.</param>
/// <param name="Id">The id within the tenant.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionKey")]
public readonly record struct SessionKey([property: Id(0)] TenantId Tenant, [property: Id(1)] SessionId Id)
{
    /// <summary>Parses the output of <see cref="ToString"/>.</summary>
    public static bool TryParse(string? text, out SessionKey key)
    {
        key = default;
        if (text?.Split('/') is not [var tenantText, var idText] || !TenantId.TryParse(tenantText, out TenantId tenant)
            || !SessionId.TryParse(idText, out SessionId id))
        {
            return false;
        }

        key = new SessionKey(tenant, id);
        return true;
    }

    /// <summary>Tenant and id, separated by a slash, which neither of them can contain.</summary>
    public override string ToString() => $"{Tenant}/{Id}";
}

/// <summary>The identity of a model: the SHA-256 of its content.</summary>
/// <param name="Value">64 lower-case hexadecimal digits.</param>
[GenerateSerializer, Immutable, Alias("atelier.ModelDigest")]
public readonly record struct ModelDigest([property: Id(0)] string Value)
{
    /// <summary>Parses an untrusted digest.</summary>
    public static bool TryParse(string? text, out ModelDigest digest)
    {
        bool valid = Digests.AreValid(text);
        digest = valid ? new ModelDigest(text!) : default;
        return valid;
    }

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>SHA-256 digests as text.</summary>
public static class Digests
{
    /// <summary>Whether <paramref name="text"/> is 64 lower-case hexadecimal digits.</summary>
    public static bool AreValid([NotNullWhen(true)] string? text) =>
        text is { Length: 64 } && text.All(char.IsAsciiHexDigitLower);
}
