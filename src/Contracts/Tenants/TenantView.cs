namespace Atelier.Contracts.Tenants;

/// <summary>A key as it may be shown again: not the key itself.</summary>
/// <param name="Label">What its maker calls it.</param>
/// <param name="Hash">SHA-256 of the key, lower-case hexadecimal.</param>
/// <param name="CreatedAt">When it was made.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantKey")]
public sealed record TenantKey(
    [property: Id(0)] string Label, [property: Id(1)] string Hash, [property: Id(2)] DateTimeOffset CreatedAt);

/// <summary>A tenant as an administrator sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TenantView")]
public sealed record TenantView
{
    /// <summary>Which one.</summary>
    [Id(0)]
    public required TenantId Id { get; init; }

    /// <summary>What it may do.</summary>
    [Id(1)]
    public required TenantSettings Settings { get; init; }

    /// <summary>Its keys.</summary>
    [Id(2)]
    public required TenantKey[] Keys { get; init; }

    /// <summary>Generations open now.</summary>
    [Id(3)]
    public int Open { get; init; }

    /// <summary>
    /// Evaluations used today: those that were computed, and all that open generations may take. After the death of a
    /// silo it may be two hundredths of the limit more.
    /// </summary>
    [Id(4)]
    public long EvaluationsToday { get; init; }
}

/// <summary>A tenant's weight.</summary>
/// <param name="Weight">The weight.</param>
/// <param name="Version">Number of the change that gave it: of two, the one with the larger number holds.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantWeight")]
public sealed record TenantWeight([property: Id(0)] double Weight, [property: Id(1)] long Version);

/// <summary>What became of a change to a tenant.</summary>
/// <param name="View">The tenant as it is then; none if the change was refused.</param>
/// <param name="Message">What is wrong and what would be right, if it was.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantAnswer")]
public sealed record TenantAnswer([property: Id(0)] TenantView? View, [property: Id(1)] string? Message = null);
