// The cancellation of generations whose client has disconnected.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>Cancels generations that no client follows anymore.</summary>
internal sealed class AbandonedGenerations(
    IGrainFactory grains, GrainCaller calls, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    // If a client disconnects while its stream starts in the grain, Orleans does not end that stream, and the grain
    // counts a reader until the stream expires, which takes 10 to 20 seconds.
    private const int Attempts = 3;
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(12);

    /// <summary>
    /// Cancels those generations that have not ended and that no other client follows, on this silo or another. Those
    /// that are followed are looked at again until a stream that was not ended has expired.
    /// </summary>
    public async Task CancelAsync(IReadOnlyList<GenerationKey> keys)
    {
        for (int attempt = 1; ; attempt++)
        {
            GenerationView?[] views = await CancelUnwatchedAsync(keys);
            keys = [.. views.OfType<GenerationView>().Where(view => !view.Phase.IsEnded()).Select(view => view.Key)];
            if (keys.Count == 0 || attempt == Attempts)
            {
                return;
            }

            try
            {
                await Task.Delay(s_pause, clock, lifetime.ApplicationStopping);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    /// <summary>The same with a single attempt.</summary>
    /// <returns>The generations afterwards, in the same order; null for those that do not exist.</returns>
    public Task<GenerationView?[]> CancelUnwatchedAsync(IReadOnlyList<GenerationKey> keys) =>
        Task.WhenAll(keys.Select(key => calls.CallAsync(() => grains.Generation(key).CancelUnwatchedAsync())));
}
