// The set of accepted generations that have not ended, as a pure protocol. A submission first adds the id to the open
// set, then stores the generation's state, then answers. So the set contains everything that was accepted, and a walk
// through it recovers all open work.
using Atelier.Contracts;
using Atelier.Contracts.OpenSets;

namespace Atelier.Grains.OpenSets;

/// <summary>The stored state of a partition.</summary>
[GenerateSerializer, Alias("atelier.state.OpenSet")]
public sealed class OpenSetState
{
    /// <summary>Keys of generations, with the time at which each was added.</summary>
    [Id(0)]
    public Dictionary<string, DateTimeOffset> Added { get; set; } = [];

    /// <summary>
    /// The hour of the retention clock up to which ended generations were deleted.
    /// </summary>
    [Id(1)]
    public long ForgottenHour { get; set; }

    /// <summary>
    /// The partition's retention clock, in seconds. It starts at the wall clock's seconds since 1970; 0 before that.
    /// </summary>
    [Id(2)]
    public long RetentionSeconds { get; set; }

    /// <summary>
    /// Pages of past hours that did not answer or could not be emptied: the hour, a slash, and the page.
    /// </summary>
    [Id(3)]
    public HashSet<string> Unfinished { get; set; } = [];
}

/// <summary>A question that a walk asks a generation.</summary>
/// <param name="Generation">Key of the generation.</param>
/// <param name="Late">Whether the time limit of its submission has passed.</param>
public readonly record struct WalkQuestion(GenerationKey Generation, bool Late);

/// <summary>A partition of the open set.</summary>
/// <param name="state">The stored state.</param>
/// <param name="submitTimeout">The longest time that a submission may take.</param>
public sealed class OpenSet(OpenSetState state, TimeSpan submitTimeout)
{
    /// <summary>Number of partitions in format 0, in which a hash without a key chose the partition.</summary>
    public const int PartitionsOfFormat0 = 64;

    /// <summary>The partition of a generation whose state does not record it, as format 0 chose it.</summary>
    public static int PartitionOfFormat0(GenerationKey generation) =>
        StableParts.Of(generation.ToString(), PartitionsOfFormat0);

    /// <summary>Number of generations in the partition.</summary>
    public int Count => state.Added.Count;

    /// <summary>
    /// Restarts the timeout of every submission. Stored times come from another process's clock, which may differ.
    /// </summary>
    public void Restart(DateTimeOffset now)
    {
        foreach (string generation in state.Added.Keys.ToArray())
        {
            state.Added[generation] = now;
        }
    }

    /// <summary>The ids of a tenant's generations in the partition.</summary>
    public GenerationId[] Of(TenantId tenant) =>
    [
        .. state.Added.Keys.Where(key => key.StartsWith($"{tenant}/", StringComparison.Ordinal))
            .Select(key => GenerationKey.TryParse(key, out GenerationKey one) ? one.Id : default)
            .Where(id => id != default),
    ];

    /// <summary>Adds a generation. Returns false if the partition is full.</summary>
    public bool Add(GenerationKey generation, DateTimeOffset now)
    {
        // The time of a known generation is renewed, because its submission has just been retried.
        if (state.Added.Count >= IOpenSetGrain.SizeMax && !state.Added.ContainsKey(generation.ToString()))
        {
            return false;
        }

        state.Added[generation.ToString()] = now;
        return true;
    }

    /// <summary>Removes a generation. Returns false if it was not in the partition.</summary>
    public bool Remove(GenerationKey generation) => state.Added.Remove(generation.ToString());

    /// <summary>The questions for all generations in the partition.</summary>
    public IReadOnlyList<WalkQuestion> Walk(DateTimeOffset now)
    {
        var questions = new List<WalkQuestion>(state.Added.Count);
        foreach ((string text, DateTimeOffset added) in state.Added)
        {
            if (GenerationKey.TryParse(text, out GenerationKey generation))
            {
                questions.Add(new WalkQuestion(generation, now - added > submitTimeout));
            }
        }

        return questions;
    }
}
