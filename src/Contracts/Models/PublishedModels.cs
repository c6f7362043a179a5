// Models made from checkpoints of training runs. Their files are blobs of the cluster; the list of them is a grain.
namespace Atelier.Contracts.Models;

/// <summary>The checkpoint whose weights a model has.</summary>
/// <param name="Run">The training run.</param>
/// <param name="Stage">Index of the stage.</param>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
/// <param name="Weights">SHA-256 of the checkpoint's last weights, as trainers report it at the end of a stage.</param>
[GenerateSerializer, Immutable, Alias("atelier.ModelOrigin")]
public sealed record ModelOrigin(
    [property: Id(0)] string Run, [property: Id(1)] int Stage, [property: Id(2)] long Step,
    [property: Id(3)] string Weights);

/// <summary>A file of a published model.</summary>
/// <param name="Name">Name of the file in the model's folder.</param>
/// <param name="Sha256">SHA-256 of its bytes, as lower-case hexadecimal digits.</param>
/// <param name="Length">Length in bytes.</param>
[GenerateSerializer, Immutable, Alias("atelier.PublishedFile")]
public sealed record PublishedFile(
    [property: Id(0)] string Name, [property: Id(1)] string Sha256, [property: Id(2)] long Length)
{
    /// <summary>The blob with the file's bytes.</summary>
    public BlobName Blob => BlobName.OfCluster(BlobKind.Model, Sha256);
}

/// <summary>A published model.</summary>
[GenerateSerializer, Immutable, Alias("atelier.PublishedModel")]
public sealed record PublishedModel
{
    /// <summary>
    /// Prefix of the names of models that draw panels; no other model is published under such a name.
    /// </summary>
    public const string PanelPrefix = "panels/";

    /// <summary>The model's identity: the SHA-256 of its manifest, which holds the digests of all files.</summary>
    [Id(0)]
    public required ModelDigest Digest { get; init; }

    /// <summary>The name that requests use for the model.</summary>
    [Id(1)]
    public required string Name { get; init; }

    /// <summary>The files of the model's folder, the manifest among them.</summary>
    [Id(2)]
    public required PublishedFile[] Files { get; init; }

    /// <summary>The checkpoint whose weights the model has.</summary>
    [Id(3)]
    public required ModelOrigin Origin { get; init; }

    /// <summary>The model that the autoencoder and the text encoder were taken from.</summary>
    [Id(4)]
    public required ModelDigest Base { get; init; }

    /// <summary>Id of the owner of the files' blobs: of this publication, not of the model.</summary>
    [Id(5)]
    public required string Owner { get; init; }

    /// <summary>When the model was published.</summary>
    [Id(6)]
    public required DateTimeOffset PublishedAt { get; init; }

    /// <summary>
    /// Whether the model takes no new requests. Its files are kept until the queue has no work left for it.
    /// </summary>
    [Id(7)]
    public bool IsWithdrawn { get; init; }

    /// <summary>
    /// When the model is withdrawn; null if that is left to people. Such a model draws panels, and is in no list.
    /// </summary>
    [Id(8)]
    public DateTimeOffset? ExpiresAt { get; init; }
}

/// <summary>The outcome of a publication.</summary>
public enum PublishOutcome
{
    /// <summary>The model is published, now or by an earlier call.</summary>
    Published,

    /// <summary>Another model is published under the name.</summary>
    NameExists,

    /// <summary>Too many models are published.</summary>
    Full,
}

/// <summary>The answer to a publication.</summary>
/// <param name="Outcome">The outcome.</param>
/// <param name="Model">The model that is published under the name; null if there is none.</param>
[GenerateSerializer, Immutable, Alias("atelier.PublishAnswer")]
public sealed record PublishAnswer(
    [property: Id(0)] PublishOutcome Outcome, [property: Id(1)] PublishedModel? Model);

/// <summary>The cluster's published models; the grain's key is 0.</summary>
[Alias("atelier.IPublishedModelsGrain")]
public interface IPublishedModelsGrain : IGrainWithIntegerKey
{
    /// <summary>
    /// Maximum number of published models, withdrawn ones included: half of the catalog, which lists other models too.
    /// </summary>
    const int SizeMax = IModelCatalogGrain.SizeMax / 2;

    /// <summary>Publishes a model whose files are stored. Idempotent.</summary>
    [Alias("Publish")]
    Task<PublishAnswer> PublishAsync(PublishedModel model);

    /// <summary>The model that is published under a name; null if there is none.</summary>
    [Alias("Find")]
    Task<PublishedModel?> FindAsync(string name);

    /// <summary>All models in order of publication, withdrawn ones included while work needs them.</summary>
    [Alias("List")]
    Task<PublishedModel[]> ListAsync();

    /// <summary>
    /// Withdraws a model: it takes no new requests, and is removed once the queue has no work for it. Idempotent until
    /// then. Returns false if no model has that name.
    /// </summary>
    [Alias("Withdraw")]
    Task<bool> WithdrawAsync(string name);

    /// <summary>Whether a publication may need a blob. False only if it certainly does not.</summary>
    /// <param name="owner">Id of the owner of the blob.</param>
    /// <param name="blob">The blob.</param>
    [Alias("MayNeed")]
    Task<bool> MayNeedAsync(string owner, BlobName blob);
}
