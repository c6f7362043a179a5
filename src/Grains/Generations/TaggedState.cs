// What an activation holds of its generation. While a cluster is parted there may be two activations; the store's tag
// alone tells whether the other one has written.
namespace Atelier.Grains.Generations;

/// <summary>A state, and the tag of the stored one that it comes from.</summary>
/// <param name="State">The state; it may be ahead of the stored one by steps that are not worth a write.</param>
/// <param name="Tag">The store's tag; none while nothing is stored.</param>
public readonly record struct TaggedState(GenerationState State, string? Tag)
{
    /// <summary>
    /// What is held after the store was read again. Another tag replaces all of the state: a new tag with an old state
    /// could overwrite what it never saw.
    /// </summary>
    /// <param name="read">What was read.</param>
    public TaggedState After(TaggedState read) => read.Tag == Tag ? this : read;
}
