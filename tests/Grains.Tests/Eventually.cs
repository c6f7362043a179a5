// The wait for conditions that threads, timers and silos bring about in real time. Tests of code that takes a
// TimeProvider set its time instead, and tests that can be notified wait for the signal.
using Xunit;

namespace Atelier.Grains.Tests;

/// <summary>Waits until a condition holds.</summary>
internal static class Eventually
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(10);

    /// <summary>Waits until a condition holds; fails the test if it does not within a minute.</summary>
    /// <param name="condition">The condition; if it throws, the wait ends with that error.</param>
    /// <param name="story">What has happened so far, for the message of a failure.</param>
    /// <param name="seconds">How long to wait.</param>
    public static Task TrueAsync(Func<bool> condition, Func<string>? story = null, double seconds = 60) =>
        TrueAsync(() => Task.FromResult(condition()), story, seconds);

    /// <inheritdoc cref="TrueAsync(Func{bool}, Func{string}, double)"/>
    public static async Task TrueAsync(
        Func<Task<bool>> condition, Func<string>? story = null, double seconds = 60)
    {
        long began = TimeProvider.System.GetTimestamp();
        while (!await condition())
        {
            Assert.True(
                TimeProvider.System.GetElapsedTime(began).TotalSeconds < seconds,
                $"It did not happen within {seconds} s. {story?.Invoke()}");
            await Task.Delay(s_pause, TestContext.Current.CancellationToken);
        }
    }
}
