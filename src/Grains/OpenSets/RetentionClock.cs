// The clock of a partition's retention as a pure rule. It counts time in which the cluster ran, in small steps of the
// monotonic clock, and is stored with the partition: a wall clock that jumps and a machine that was off for a week
// forget nothing early. Whatever is lost of it at a crash keeps things longer.

namespace Atelier.Grains.OpenSets;

/// <summary>How far retention has come in a partition.</summary>
public sealed class RetentionClock
{
    private const long HourSeconds = 3600;

    private readonly OpenSetState _state;
    private readonly RetentionOptions _options;
    private readonly TimeProvider _clock;
    private TimeSpan _rest;
    private long _at;

    /// <summary>
    /// Goes on from what is stored. A state of format 0 goes on where its retention stands; a new one begins with the
    /// wall clock, whose hours are no more than names from then on.
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

    /// <summary>The hour under which endings are listed now.</summary>
    public long Hour => _state.RetentionSeconds / HourSeconds;

    /// <summary>The last hour all of whose endings have had their retention time.</summary>
    public long DueHour => ((_state.RetentionSeconds - (long)_options.Generations.TotalSeconds) / HourSeconds) - 1;

    /// <summary>
    /// Counts the time since the last look, or since this object was made: at most
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
