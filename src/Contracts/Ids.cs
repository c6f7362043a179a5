// The names of things. Each is a checked string in a type of its own, so that a session's id cannot be taken for a
// generation's, and so that nothing from outside reaches a grain's key, a path or a header unread.
using System.Diagnostics.CodeAnalysis;

namespace Atelier.Contracts;

/// <summary>
/// What a name may look like: 1 to 64 letters, digits, '-' and '_' of ASCII, a letter or digit first.
/// </summary>
public static class Names
{
    /// <summary>Most characters in a name.</summary>
    public const int LengthMax = 64;

    /// <summary>What is right, for error messages.</summary>
    public const string Rule = "1 to 64 letters, digits, '-' or '_', starting with a letter or digit";

    /// <summary>Whether <paramref name="text"/> follows the rule.</summary>
    public static bool AreValid([NotNullWhen(true)] string? text) =>
        text is { Length: > 0 and <= LengthMax } && char.IsAsciiLetterOrDigit(text[0])
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');
}

/// <summary>Spreads texts over parts, the same way on every machine and in every release.</summary>
public static class StableParts
{
    /// <summary>
    /// Assigns a text to one of a number of parts. What is stored is found by it, so it never changes. It has no key:
    /// a client that chooses the text chooses the part.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="parts">The number of parts, at least 1.</param>
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

/// <summary>A tenant: whose work, limits and pictures these are.</summary>
/// <param name="Value">
/// The name; see <see cref="Names"/>. Where an earlier tenant of that name was closed, the next one has another id: the
/// name, '~' and a number.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.TenantId")]
public readonly record struct TenantId([property: Id(0)] string Value)
{
    /// <summary>How often a name can be opened again.</summary>
    public const int ReopeningsMax = 999;

    private const char Mark = '~'; // No name has it.

    /// <summary>Gets the name, which tenants have one after the other.</summary>
    public string Name => Value.IndexOf(Mark, StringComparison.Ordinal) is >= 0 and int mark ? Value[..mark] : Value;

    /// <summary>
    /// Parses an id from outside, such as the one in a key. A new tenant is created by its name alone.
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

    /// <summary>The tenant that has this name after it was opened again a number of times.</summary>
    public TenantId Reopened(int times) => new($"{Name}{Mark}{times}");

    private static bool IsNumber(string text) =>
        text.Length is > 0 and <= 3 && text[0] != '0' && text.All(char.IsAsciiDigit);

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>A session of a tenant; the client may choose it.</summary>
/// <param name="Value">The name; see <see cref="Names"/>.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionId")]
public readonly record struct SessionId([property: Id(0)] string Value)
{
    /// <summary>Reads a name from outside.</summary>
    public static bool TryParse(string? text, out SessionId id)
    {
        bool valid = Names.AreValid(text);
        id = valid ? new SessionId(text!) : default;
        return valid;
    }

    /// <inheritdoc/>
    public override string ToString() => Value;
}

/// <summary>A generation of a tenant; the client may choose it, and every command on it is idempotent by it.</summary>
/// <param name="Value">The name; see <see cref="Names"/>.</param>
[GenerateSerializer, Immutable, Alias("atelier.GenerationId")]
public readonly record struct GenerationId([property: Id(0)] string Value)
{
    /// <summary>Reads a name from outside.</summary>
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
/// <param name="Tenant">Whose it is.</param>
/// <param name="Id">Which one.</param>
[GenerateSerializer, Immutable, Alias("atelier.GenerationKey")]
public readonly record struct GenerationKey([property: Id(0)] TenantId Tenant, [property: Id(1)] GenerationId Id)
{
    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
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

    /// <summary>Tenant and id with a slash between, which no name contains.</summary>
    public override string ToString() => $"{Tenant}/{Id}";
}

/// <summary>A session with its tenant: the key of its grain.</summary>
/// <param name="Tenant">Whose it is.</param>
/// <param name="Id">Which one.</param>
[GenerateSerializer, Immutable, Alias("atelier.SessionKey")]
public readonly record struct SessionKey([property: Id(0)] TenantId Tenant, [property: Id(1)] SessionId Id)
{
    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
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

    /// <summary>Tenant and id with a slash between, which no name contains.</summary>
    public override string ToString() => $"{Tenant}/{Id}";
}

/// <summary>A model, known by the SHA-256 of its content.</summary>
/// <param name="Value">64 lower-case hexadecimal digits.</param>
[GenerateSerializer, Immutable, Alias("atelier.ModelDigest")]
public readonly record struct ModelDigest([property: Id(0)] string Value)
{
    /// <summary>Reads a digest from outside.</summary>
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
