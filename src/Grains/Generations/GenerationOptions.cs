// What can be set about generations, and what values make sense.
namespace Atelier.Grains.Generations;

/// <summary>How generations behave.</summary>
public sealed class GenerationOptions
{
    /// <summary>
    /// Gets or sets after how many claims in a row without a newer snapshot a generation must run alone.
    /// </summary>
    /// <value>The default is 1: what was in company when its worker died runs alone until its next snapshot.</value>
    public int QuarantineAfter { get; set; } = 1;

    /// <summary>
    /// Gets or sets after how many deaths alone, in a row and without progress, a generation has failed.
    /// </summary>
    /// <value>The default is 3.</value>
    public int DeathsAloneMax { get; set; } = 3;

    /// <summary>
    /// Gets or sets how often workers may report a failure, in a row and without progress, before it counts.
    /// </summary>
    /// <value>The default is 2: once more, elsewhere if there is an elsewhere.</value>
    public int FailuresMax { get; set; } = 2;

    /// <summary>Gets or sets how long a claim is held to be alive after a word from its worker.</summary>
    /// <remarks>
    /// Longer than the lease time it would hold up recovery; at 0 a doubled lease would count as a death.
    /// </remarks>
    /// <value>The default is 3 seconds.</value>
    public TimeSpan ClaimQuiet { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Gets or sets how long a snapshot waits for its own device kind before it starts again on another.
    /// </summary>
    /// <value>The default is 60 seconds.</value>
    public TimeSpan DeviceKindPatience { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>Gets or sets how long a submission may take from the open set to the generation's state.</summary>
    /// <value>The default is 30 seconds.</value>
    public TimeSpan SubmitTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Gets the shortest <see cref="Retention"/>: one minute.</summary>
    public static TimeSpan RetentionMin { get; } = TimeSpan.FromMinutes(1);

    /// <summary>Gets or sets how long an ended generation is kept, in time in which the cluster runs.</summary>
    /// <value>The default is 7 days.</value>
    public TimeSpan Retention { get; set; } = TimeSpan.FromDays(7);

    /// <summary>Gets or sets the most time that counts for retention from one look at the clock to the next.</summary>
    /// <remarks>What a machine slept in between does not count beyond it.</remarks>
    /// <value>The default is 2 minutes; looks are a second apart.</value>
    public TimeSpan RetentionStep { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        { QuarantineAfter: < 1 } => $"{nameof(QuarantineAfter)} must be at least 1, not {QuarantineAfter}.",
        { DeathsAloneMax: < 1 } => $"{nameof(DeathsAloneMax)} must be at least 1, not {DeathsAloneMax}.",
        { FailuresMax: < 1 } => $"{nameof(FailuresMax)} must be at least 1, not {FailuresMax}.",
        _ when ClaimQuiet < TimeSpan.Zero => $"{nameof(ClaimQuiet)} must not be negative.",
        _ when DeviceKindPatience < TimeSpan.Zero => $"{nameof(DeviceKindPatience)} must not be negative.",
        _ when SubmitTimeout < TimeSpan.FromSeconds(1) =>
            $"{nameof(SubmitTimeout)} must be at least 1 s, not {SubmitTimeout}.",
        _ when Retention < RetentionMin => $"{nameof(Retention)} must be at least 1 min, not {Retention}.",
        _ when RetentionStep < TimeSpan.FromSeconds(1) =>
            $"{nameof(RetentionStep)} must be at least 1 s, not {RetentionStep}.",
        _ => null,
    };
}
