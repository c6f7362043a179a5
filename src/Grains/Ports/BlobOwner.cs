// The owner of a blob, as a value. Stores keep the owner's spelling beside the bytes. A generation is spelled as its id
// alone, as in releases without other owners; the spellings of others begin with their type and a dot, which no id
// contains.
using System.Diagnostics.CodeAnalysis;
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>The type of an owner.</summary>
public enum BlobOwnerType
{
    /// <summary>A generation of the blob's tenant.</summary>
    Generation,

    /// <summary>A training run of the cluster.</summary>
    Run,

    /// <summary>A session of the blob's tenant.</summary>
    Session,

    /// <summary>An upload of the blob's tenant.</summary>
    Upload,

    /// <summary>A data set of the cluster for training; its id is the digest of its manifest.</summary>
    DataSet,

    /// <summary>A publication of a model in the cluster.</summary>
    Model,
}

/// <summary>An owner of blobs.</summary>
/// <param name="Type">The owner's type.</param>
/// <param name="Id">
/// The owner's id, within the blob's tenant unless the owner is a run, a data set or a model; see
/// <see cref="Names"/>.
/// </param>
public readonly record struct BlobOwner(BlobOwnerType Type, string Id)
{
    // The prefixes are part of stored names, so they never change.
    private static readonly (BlobOwnerType Type, string Prefix)[] s_prefixes =
    [
        (BlobOwnerType.Run, "run."), (BlobOwnerType.Session, "session."), (BlobOwnerType.Upload, "upload."),
        (BlobOwnerType.DataSet, "data."),
        (BlobOwnerType.Model, "model."),
    ];

    /// <summary>A generation as an owner.</summary>
    public static BlobOwner Of(GenerationId generation) => new(BlobOwnerType.Generation, generation.Value);

    /// <summary>A session as an owner.</summary>
    public static BlobOwner Of(SessionId session) => new(BlobOwnerType.Session, session.Value);

    /// <summary>Parses the output of <see cref="ToString"/>.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out BlobOwner owner)
    {
        (BlobOwnerType type, string prefix) = Array.Find(
            s_prefixes, one => text?.StartsWith(one.Prefix, StringComparison.Ordinal) == true);
        owner = new BlobOwner(prefix is null ? BlobOwnerType.Generation : type, text?[(prefix?.Length ?? 0)..] ?? "");
        return Names.AreValid(owner.Id);
    }

    /// <summary>The spelling, checked for use in paths.</summary>
    /// <param name="name">The blob that the owner holds.</param>
    /// <exception cref="ArgumentException">The owner is not valid, or cannot hold such a blob.</exception>
    public string SpellingFor(BlobName name)
    {
        if (!Names.AreValid(Id) || !Enum.IsDefined(Type))
        {
            throw new ArgumentException($"'{Id}' is not a valid id for an owner of {name}.");
        }

        return name.Tenant is null && Type is not (BlobOwnerType.Run or BlobOwnerType.DataSet or BlobOwnerType.Model)
            ? throw new ArgumentException($"{this} belongs to a tenant and cannot hold {name}, a blob of the cluster.")
            : ToString();
    }

    /// <summary>The spelling that stores keep.</summary>
    public override string ToString()
    {
        BlobOwnerType type = Type;
        return Array.Find(s_prefixes, one => one.Type == type).Prefix + Id;
    }
}
