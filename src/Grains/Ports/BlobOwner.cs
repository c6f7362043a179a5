// Who needs a blob, as a value. Stores keep its spelling beside the bytes: a generation's is its id alone, as before
// there were other owners; the others begin with their type and a dot, which no id contains.
using System.Diagnostics.CodeAnalysis;
using Atelier.Contracts;

namespace Atelier.Grains.Ports;

/// <summary>What an owner is.</summary>
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
}

/// <summary>An owner of blobs.</summary>
/// <param name="Type">What it is.</param>
/// <param name="Id">Its id, within the blob's tenant unless it is a run; see <see cref="Names"/>.</param>
public readonly record struct BlobOwner(BlobOwnerType Type, string Id)
{
    // In stored names: they never change.
    private static readonly (BlobOwnerType Type, string Prefix)[] s_prefixes =
    [
        (BlobOwnerType.Run, "run."), (BlobOwnerType.Session, "session."), (BlobOwnerType.Upload, "upload."),
    ];

    /// <summary>A generation.</summary>
    public static BlobOwner Of(GenerationId generation) => new(BlobOwnerType.Generation, generation.Value);

    /// <summary>A session.</summary>
    public static BlobOwner Of(SessionId session) => new(BlobOwnerType.Session, session.Value);

    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out BlobOwner owner)
    {
        (BlobOwnerType type, string prefix) = Array.Find(
            s_prefixes, one => text?.StartsWith(one.Prefix, StringComparison.Ordinal) == true);
        owner = new BlobOwner(prefix is null ? BlobOwnerType.Generation : type, text?[(prefix?.Length ?? 0)..] ?? "");
        return Names.AreValid(owner.Id);
    }

    /// <summary>The spelling, checked for use in paths.</summary>
    /// <param name="name">The blob that it holds.</param>
    /// <exception cref="ArgumentException">It is not a valid owner, or cannot hold such a blob.</exception>
    public string SpellingFor(BlobName name)
    {
        if (!Names.AreValid(Id) || !Enum.IsDefined(Type))
        {
            throw new ArgumentException($"'{Id}' is not the id of an owner of {name}.");
        }

        return name.Tenant is null && Type != BlobOwnerType.Run
            ? throw new ArgumentException($"{this} is a tenant's and cannot hold {name}, which is the cluster's.")
            : ToString();
    }

    /// <summary>The spelling that stores keep.</summary>
    public override string ToString()
    {
        BlobOwnerType type = Type;
        return Array.Find(s_prefixes, one => one.Type == type).Prefix + Id;
    }
}
