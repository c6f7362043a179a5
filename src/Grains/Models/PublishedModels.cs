// The list of published models as a pure protocol: which model has a name, and which blobs are needed. An entry is
// added once all files are stored, and removed before any of them is released.
using Atelier.Contracts;
using Atelier.Contracts.Models;

namespace Atelier.Grains.Models;

/// <summary>The stored state of the list.</summary>
[GenerateSerializer, Alias("atelier.state.PublishedModels")]
internal sealed class PublishedModelsState
{
    /// <summary>The models, in order of publication.</summary>
    [Id(0)]
    public List<PublishedModel> Models { get; set; } = [];
}

/// <summary>The published models of a cluster.</summary>
/// <param name="state">The stored state.</param>
internal sealed class PublishedModels(PublishedModelsState state)
{
    /// <summary>Models that take no new requests and are removed when no work needs them.</summary>
    public IEnumerable<PublishedModel> Withdrawn => state.Models.Where(model => model.IsWithdrawn);

    /// <summary>Models whose time is over and that still take requests.</summary>
    public IEnumerable<PublishedModel> Expired(DateTimeOffset now) =>
        state.Models.Where(model => !model.IsWithdrawn && model.ExpiresAt <= now);

    /// <summary>
    /// Adds a model. The same model under the same name changes nothing, except that it may expire later; a withdrawn
    /// entry of a model is replaced if the model is published again.
    /// </summary>
    /// <returns>The answer, and the entry that was replaced, whose blobs are to be released.</returns>
    public (PublishAnswer Answer, PublishedModel? Replaced) Publish(PublishedModel model)
    {
        if (Find(model.Name) is { } known)
        {
            if (known.Digest == model.Digest && known.ExpiresAt < model.ExpiresAt)
            {
                int at = state.Models.IndexOf(known);
                state.Models[at] = known = known with { ExpiresAt = model.ExpiresAt };
            }

            return (
                new PublishAnswer(
                    known.Digest == model.Digest ? PublishOutcome.Published : PublishOutcome.NameExists, known),
                null);
        }

        // A manifest contains the model's name, so an entry with this digest is an earlier one of this name.
        PublishedModel? replaced = state.Models.Find(one => one.Digest == model.Digest);
        if (replaced is null && state.Models.Count >= IPublishedModelsGrain.SizeMax)
        {
            return (new PublishAnswer(PublishOutcome.Full, null), null);
        }

        state.Models.RemoveAll(one => one.Digest == model.Digest);
        state.Models.Add(model);
        return (new PublishAnswer(PublishOutcome.Published, model), replaced);
    }

    /// <summary>The model that is published under a name; null if there is none.</summary>
    public PublishedModel? Find(string name) => state.Models.Find(model => model.Name == name && !model.IsWithdrawn);

    /// <summary>
    /// Withdraws a model. Returns whether that changed something: a repeated call finds the model withdrawn. Null if
    /// no model has that name.
    /// </summary>
    public bool? Withdraw(string name)
    {
        int at = state.Models.FindIndex(model => model.Name == name && !model.IsWithdrawn);
        if (at >= 0)
        {
            state.Models[at] = state.Models[at] with { IsWithdrawn = true };
            return true;
        }

        return state.Models.Exists(model => model.Name == name) ? false : null;
    }

    /// <summary>Removes a withdrawn model.</summary>
    public void Remove(PublishedModel model) => state.Models.Remove(model);

    /// <summary>Whether a publication needs a blob.</summary>
    public bool Needs(string owner, BlobName blob) =>
        state.Models.Exists(model => model.Owner == owner && Array.Exists(model.Files, file => file.Blob == blob));
}
