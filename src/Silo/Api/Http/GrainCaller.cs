// Calls to grains, with retries. The outcome of a failed call may be unknown; every command of the grains is idempotent
// by its id, so a retry either carries it out or returns the result of the first call.
using Atelier.Grains;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Api.Http;

/// <summary>Calls grains and retries transient failures.</summary>
internal sealed class GrainCaller(TimeProvider clock, IHostApplicationLifetime lifetime, ApiInstruments instruments)
{
    /// <summary>
    /// Maximum number of attempts per call; an attempt that hangs takes as long as the silo's response timeout.
    /// </summary>
    public const int CallsMax = 4;

    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Makes a call, with retries.</summary>
    /// <exception cref="ApiException">
    /// No attempt was answered, the server is shutting down, or the store is full.
    /// </exception>
    public async Task<T> CallAsync<T>(Func<Task<T>> call)
    {
        for (int made = 1; ; made++)
        {
            try
            {
                return await call();
            }
            catch (StoreFullException error)
            {
                // Not retried, because a full disk is not freed within a second.
                throw new ApiException(ApiError.StoreFull, error);
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                if (lifetime.ApplicationStopping.IsCancellationRequested)
                {
                    throw new ApiException(ApiError.Stopping, error);
                }

                if (made == CallsMax)
                {
                    throw new ApiException(ApiError.Unavailable, error);
                }

                instruments.Retried();
                await Task.Delay(s_pause * made, clock);
            }
        }
    }

    /// <summary>Makes a call that returns nothing, with retries.</summary>
    /// <exception cref="ApiException">As for the other overload.</exception>
    public Task CallAsync(Func<Task> call) => CallAsync(async () =>
    {
        await call();
        return true;
    });
}
