// Calls to grains whose outcome may stay unknown. Every command of the grains is idempotent by its id and begins by
// asking what became of it, so that to send it again is to ask.
using Atelier.Grains;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Api.Http;

/// <summary>Makes calls, a few times.</summary>
internal sealed class GrainCaller(TimeProvider clock, IHostApplicationLifetime lifetime, ApiInstruments instruments)
{
    /// <summary>Calls in all; a call that hangs takes as long as the silo waits for an answer.</summary>
    public const int CallsMax = 4;

    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Makes a call.</summary>
    /// <exception cref="ApiException">There was no answer.</exception>
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
                // Room does not come within a second.
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

    /// <summary>Makes a call that answers nothing.</summary>
    /// <exception cref="ApiException">There was no answer.</exception>
    public Task CallAsync(Func<Task> call) => CallAsync(async () =>
    {
        await call();
        return true;
    });
}
