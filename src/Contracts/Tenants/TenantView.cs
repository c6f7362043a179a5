namespace Atelier.Contracts.Tenants;

/// <summary>The public description of a key, without the key itself.</summary>
/// <param name="Label">The label given by its creator.</param>
/// <param name="Hash">SHA-256 of the key, lower-case hexadecimal.</param>
/// <param name="CreatedAt">When the key was created.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantKey")]
public sealed record TenantKey(
    [property: Id(0)] string Label, [property: Id(1)] string Hash, [property: Id(2)] DateTimeOffset CreatedAt);

/// <summary>A tenant as an administrator sees it.</summary>
[GenerateSerializer, Immutable, Alias("atelier.TenantView")]
public sealed record TenantView
{
    /// <summary>The tenant's id.</summary>
    [Id(0)]
    public required TenantId Id { get; init; }

    /// <summary>The tenant's limits and weight.</summary>
    [Id(1)]
    public required TenantSettings Settings { get; init; }

    /// <summary>The tenant's active keys.</summary>
    [Id(2)]
    public required TenantKey[] Keys { get; init; }

    /// <summary>Number of open generations.</summary>
    [Id(3)]
    public int Open { get; init; }

    /// <summary>
    /// Evaluations used today: those computed, plus all that open generations may take. After a silo crash this number
    /// may be too high by up to 2 % of the limit.
    /// </summary>
    [Id(4)]
    public long EvaluationsToday { get; init; }
}

/// <summary>A tenant's weight, with its version.</summary>
/// <param name="Weight">The weight.</param>
/// <param name="Version">Version of the weight; of two weights, the one with the larger version applies.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantWeight")]
public sealed record TenantWeight([property: Id(0)] double Weight, [property: Id(1)] long Version);

/// <summary>The outcome of a change to a tenant.</summary>
/// <param name="View">The tenant after the change; null if the change was refused.</param>
/// <param name="Message">If the change was refused: what is wrong and how to correct it.</param>
[GenerateSerializer, Immutable, Alias("atelier.TenantAnswer")]
public sealed record TenantAnswer([property: Id(0)] TenantView? View, [property: Id(1)] string? Message = null);
