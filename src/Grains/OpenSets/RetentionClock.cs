// The clock of a partition's retention as a pure rule. It counts time in which the cluster ran, in small steps of the
// monotonic clock, and is stored with the partition: neither a wall clock that jumps nor a machine that was off for a
// week deletes anything early. Time that is lost in a crash only delays deletions.

namespace Atelier.Grains.OpenSets;

/// <summary>The retention clock of a partition.</summary>
public sealed class RetentionClock
{
    private const long HourSeconds = 3600;

    private readonly OpenSetState _state;
    private readonly RetentionOptions _options;
    private readonly TimeProvider _clock;
    private TimeSpan _rest;
    private long _at;

    /// <summary>
    /// Resumes from the stored state. A state of format 0 resumes at the hour that its retention has reached; a new
    /// clock starts at the wall clock's time, and from then on its hours are only labels.
    /// </summary>
    public RetentionClock(OpenSetState state, RetentionOptions options, TimeProvider clock)
    {
        (_state, _options, _clock, _at) = (state, options, clock, clock.GetTimestamp());
        if (state.RetentionSeconds == 0)
        {
            state.RetentionSeconds = state.ForgottenHour == 0
                ? clock.GetUtcNow().ToUnixTimeSeconds()
                : ((state.ForgottenHour + 1) * HourSeconds) + (long)options.Generations.TotalSeconds;
        }

        if (state.ForgottenHour == 0)
        {
            state.ForgottenHour = Hour - 1;
        }
    }

    /// <summary>The current hour, under which generations and sessions that end now are listed.</summary>
    public long Hour => _state.RetentionSeconds / HourSeconds;

    /// <summary>The last hour for which retention is over: everything that ended in it may be deleted.</summary>
    public long DueHour => ((_state.RetentionSeconds - (long)_options.Generations.TotalSeconds) / HourSeconds) - 1;

    /// <summary>
    /// Adds the time since the last call, or since this object was created: at most
    /// <see cref="RetentionOptions.Step"/>.
    /// </summary>
    public void Advance()
    {
        long now = _clock.GetTimestamp();
        TimeSpan step = _clock.GetElapsedTime(_at, now);
        _at = now;
        _rest += TimeSpan.FromTicks(Math.Clamp(step.Ticks, 0, _options.Step.Ticks));
        long seconds = (long)_rest.TotalSeconds;
        _state.RetentionSeconds += seconds;
        _rest -= TimeSpan.FromSeconds(seconds);
    }
}
