// What a silo knows about its node's end, as pure decisions: poll results and times in, changes and pauses out.
namespace Atelier.Silo.Hosting.Preemption;

/// <summary>What a poll has changed.</summary>
internal enum PreemptionChange
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The first notice: the silo drains, and then stops.</summary>
    Noticed,

    /// <summary>The notice was withdrawn. The silo stops nevertheless; its supervisor starts it again.</summary>
    Withdrawn,

    /// <summary>Polls fail.</summary>
    Failing,

    /// <summary>Polls succeed again.</summary>
    Recovered,
}

/// <summary>The state of a node's notice.</summary>
/// <param name="period">Time between two polls that succeed.</param>
internal sealed class PreemptionState(TimeSpan period)
{
    // A notice gives 30 seconds or more, so that a poll after the longest pause is still in time for some of them.
    private static readonly TimeSpan s_pauseMax = TimeSpan.FromSeconds(10);

    // What a drained silo needs to leave its cluster.
    private static readonly TimeSpan s_stopTime = TimeSpan.FromSeconds(5);

    private PreemptionNotice? _latest;
    private int _failures;

    /// <summary>The notice because of which the silo stops; null if there was none. It stays when withdrawn.</summary>
    public PreemptionNotice? Notice { get; private set; }

    /// <summary>Whether a notice is in effect, by the last poll that succeeded.</summary>
    public bool IsInEffect => _latest is not null;

    /// <summary>Time until the next poll.</summary>
    public TimeSpan Pause
    {
        get
        {
            TimeSpan longest = period > s_pauseMax ? period : s_pauseMax;
            TimeSpan pause = period * Math.Pow(2, Math.Min(_failures, 16));
            return pause < longest ? pause : longest;
        }
    }

    /// <summary>Processes the answer of a poll.</summary>
    /// <param name="notice">The notice that is in effect; null if there is none.</param>
    public PreemptionChange Polled(PreemptionNotice? notice)
    {
        (bool wasFailing, PreemptionNotice? before) = (_failures > 0, _latest);
        (_failures, _latest) = (0, notice);
        if (notice is not null && Notice is null)
        {
            Notice = notice;
            return PreemptionChange.Noticed;
        }

        return notice is null && before is not null ? PreemptionChange.Withdrawn
            : wasFailing ? PreemptionChange.Recovered : PreemptionChange.None;
    }

    /// <summary>Processes a poll that failed.</summary>
    public PreemptionChange Failed() => _failures++ == 0 ? PreemptionChange.Failing : PreemptionChange.None;

    /// <summary>
    /// How long the silo may drain before it must begin to stop; null if the drain's own limits apply alone.
    /// </summary>
    public TimeSpan? DrainTime(DateTimeOffset now) => Notice?.NotBefore is not { } at ? null
        : at - now - s_stopTime is var left && left > TimeSpan.Zero ? left : TimeSpan.Zero;

    /// <summary>Forgets a notice that was withdrawn before the silo had started.</summary>
    public void Forget() => Notice = null;
}
