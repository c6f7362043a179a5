// Names in the blob store: a kind, the tenant that owns the bytes, and the SHA-256 of the bytes. The tenant is left out
// if the cluster owns the bytes; a kind's scope says which of the two it is.
namespace Atelier.Contracts;

/// <summary>The kinds of blobs.</summary>
public enum BlobKind
{
    /// <summary>A finished picture.</summary>
    Picture,

    /// <summary>A sampler's state between two steps.</summary>
    Snapshot,

    /// <summary>A prompt's caption features.</summary>
    Caption,

    /// <summary>A clean latent.</summary>
    Latent,

    /// <summary>A preview of a picture after one of its steps.</summary>
    Preview,

    /// <summary>A file that a tenant uploaded.</summary>
    Upload,

    /// <summary>A file of a training checkpoint.</summary>
    Checkpoint,

    /// <summary>A piece of a file of training data, or the list of a data set's files.</summary>
    Data,

    /// <summary>A file of a published model.</summary>
    Model,
}

/// <summary>The owner of a kind's blobs. Only the owner may see them.</summary>
public enum BlobScope
{
    /// <summary>A tenant. Equal bytes of two tenants have different names, so tenants share nothing.</summary>
    Tenant,

    /// <summary>The cluster.</summary>
    Cluster,
}

/// <summary>A row of the table of blob kinds.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Spelling">The kind's spelling in stored names.</param>
/// <param name="Scope">The kind's scope.</param>
public sealed record BlobKindInfo(BlobKind Kind, string Spelling, BlobScope Scope);

/// <summary>The table of blob kinds.</summary>
public static class BlobKinds
{
    // The spellings are part of stored names, so they never change.
    private static readonly BlobKindInfo[] s_table =
    [
        new(BlobKind.Picture, "pictures", BlobScope.Tenant),
        new(BlobKind.Snapshot, "snapshots", BlobScope.Tenant),
        new(BlobKind.Caption, "captions", BlobScope.Tenant),
        new(BlobKind.Latent, "latents", BlobScope.Tenant),
        new(BlobKind.Preview, "previews", BlobScope.Tenant),
        new(BlobKind.Upload, "uploads", BlobScope.Tenant),
        new(BlobKind.Checkpoint, "checkpoints", BlobScope.Cluster),
        new(BlobKind.Data, "data", BlobScope.Cluster),
        new(BlobKind.Model, "models", BlobScope.Cluster),
    ];

    /// <summary>Gets all kinds.</summary>
    public static IReadOnlyList<BlobKindInfo> All => s_table;

    /// <summary>The row of a kind.</summary>
    public static BlobKindInfo Info(this BlobKind kind) => Array.Find(s_table, row => row.Kind == kind)
        ?? throw new ArgumentOutOfRangeException(nameof(kind), kind, $"{(int)kind} is not a kind of blob.");

    internal static BlobKindInfo? Find(string spelling) => Array.Find(s_table, row => row.Spelling == spelling);
}

/// <summary>The name of a blob.</summary>
/// <param name="Value">
/// The kind's spelling, the tenant if the kind has that scope, and the digest, separated by slashes.
/// </param>
[GenerateSerializer, Immutable, Alias("atelier.BlobName")]
public readonly record struct BlobName([property: Id(0)] string Value)
{
    /// <summary>The name of a tenant's blob.</summary>
    /// <param name="kind">The kind, whose scope must be the tenant.</param>
    /// <param name="tenant">The tenant that owns them.</param>
    /// <param name="sha256">Lower-case hexadecimal digest of the bytes.</param>
    public static BlobName Of(BlobKind kind, TenantId tenant, string sha256) =>
        Parse($"{kind.Info().Spelling}/{tenant}/{sha256}");

    /// <summary>The name of a blob of the cluster.</summary>
    /// <param name="kind">The kind, whose scope must be the cluster.</param>
    /// <param name="sha256">Lower-case hexadecimal digest of the bytes.</param>
    public static BlobName OfCluster(BlobKind kind, string sha256) => Parse($"{kind.Info().Spelling}/{sha256}");

    /// <summary>Parses an untrusted name.</summary>
    public static bool TryParse(string? text, out BlobName name)
    {
        bool valid = text?.Split('/') switch
        {
            [var kind, var tenant, var sha256] => BlobKinds.Find(kind) is { Scope: BlobScope.Tenant }
                && TenantId.TryParse(tenant, out _) && Digests.AreValid(sha256),
            [var kind, var sha256] =>
                BlobKinds.Find(kind) is { Scope: BlobScope.Cluster } && Digests.AreValid(sha256),
            _ => false,
        };
        name = valid ? new BlobName(text!) : default;
        return valid;
    }

    /// <summary>Gets the digest of the bytes, 64 lower-case hexadecimal digits.</summary>
    public string Sha256 => Value[(Value.LastIndexOf('/') + 1)..];

    /// <summary>Gets the tenant that owns the bytes; null if the cluster owns them.</summary>
    public TenantId? Tenant => Value.Split('/') is [_, var tenant, _] ? new TenantId(tenant) : null;

    /// <inheritdoc/>
    public override string ToString() => Value;

    private static BlobName Parse(string text) => TryParse(text, out BlobName name)
        ? name
        : throw new ArgumentException(
            $"'{text}' is not a valid blob name; it must be kind/tenant/SHA-256, or kind/SHA-256 for a kind of "
            + "blob that the cluster owns.");
}
