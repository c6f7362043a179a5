// A generation's state in an activation, with its ETag. During a network partition there may be two activations; only
// the store's ETag shows whether the other one has written.
namespace Atelier.Grains.Generations;

/// <summary>A state, and the ETag of the stored state that it is based on.</summary>
/// <param name="State">The state; it may be ahead of the stored one by steps that are not stored.</param>
/// <param name="Tag">The store's ETag; null while nothing is stored.</param>
public readonly record struct TaggedState(GenerationState State, string? Tag)
{
    /// <summary>
    /// The state after the store was re-read. Another ETag replaces the whole state: a new ETag with an old state could
    /// overwrite a write that was never read.
    /// </summary>
    /// <param name="read">The state and ETag that were read.</param>
    public TaggedState After(TaggedState read) => read.Tag == Tag ? this : read;
}
