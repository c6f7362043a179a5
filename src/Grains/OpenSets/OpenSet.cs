// What was accepted and has not ended, as a pure protocol. The order of a submission is: id into the open set, then the
// generation's state, then the answer; so the set contains all that was accepted, and walking it finds everything
// again.
using Atelier.Contracts;
using Atelier.Contracts.OpenSets;

namespace Atelier.Grains.OpenSets;

/// <summary>A partition as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.OpenSet")]
public sealed class OpenSetState
{
    /// <summary>Ids, and when they were added.</summary>
    [Id(0)]
    public Dictionary<string, DateTimeOffset> Added { get; set; } = [];

    /// <summary>
    /// Up to which hour of the retention clock ended generations whose retention is over were forgotten.
    /// </summary>
    [Id(1)]
    public long ForgottenHour { get; set; }

    /// <summary>The partition's retention clock, in seconds since 1970 where it began; 0 before it has.</summary>
    [Id(2)]
    public long RetentionSeconds { get; set; }

    /// <summary>
    /// Pages of forgotten hours that had no answer or could not be emptied: the hour, a slash, and the page.
    /// </summary>
    [Id(3)]
    public HashSet<string> Unfinished { get; set; } = [];
}

/// <summary>What a walk asks of a generation.</summary>
/// <param name="Generation">Which one.</param>
/// <param name="Late">Whether its submission had its time.</param>
public readonly record struct WalkQuestion(GenerationKey Generation, bool Late);

/// <summary>A partition of the open set.</summary>
/// <param name="state">Its stored state.</param>
/// <param name="submitTimeout">How long a submission may take.</param>
public sealed class OpenSet(OpenSetState state, TimeSpan submitTimeout)
{
    /// <summary>Partitions of format 0, which chose them by a hash without a key.</summary>
    public const int PartitionsOfFormat0 = 64;

    /// <summary>Where format 0 entered a generation whose state does not say it.</summary>
    public static int PartitionOfFormat0(GenerationKey generation) =>
        StableParts.Of(generation.ToString(), PartitionsOfFormat0);

    /// <summary>Ids in it.</summary>
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

    /// <summary>The ids of a tenant.</summary>
    public GenerationId[] Of(TenantId tenant) =>
    [
        .. state.Added.Keys.Where(key => key.StartsWith($"{tenant}/", StringComparison.Ordinal))
            .Select(key => GenerationKey.TryParse(key, out GenerationKey one) ? one.Id : default)
            .Where(id => id != default),
    ];

    /// <summary>Adds an id; false if it is full.</summary>
    public bool Add(GenerationKey generation, DateTimeOffset now)
    {
        // One that is there gets its time anew: its submission has just begun again.
        if (state.Added.Count >= IOpenSetGrain.SizeMax && !state.Added.ContainsKey(generation.ToString()))
        {
            return false;
        }

        state.Added[generation.ToString()] = now;
        return true;
    }

    /// <summary>Removes an id; false if it was not there.</summary>
    public bool Remove(GenerationKey generation) => state.Added.Remove(generation.ToString());

    /// <summary>All ids, and what to ask them.</summary>
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
