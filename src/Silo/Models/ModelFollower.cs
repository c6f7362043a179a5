// A silo's loop over the cluster's published models: it fetches them and offers them to the silo's device, which need
// not restart. It looks at the list periodically, and at once when it is notified.
using Atelier.Contracts.Models;
using Atelier.Contracts.Workers;
using Atelier.Grains;
using Atelier.Grains.Models;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Silo.Devices;
using Microsoft.Extensions.Options;

namespace Atelier.Silo.Models;

/// <summary>Offers the cluster's published models to a device.</summary>
internal sealed class ModelFollower(
    IDeviceHost device, ModelCache cache, IGrainFactory grains, ILocalSiloDetails silo,
    IOptions<ModelOptions> models, IOptions<ModelCacheOptions> options, TimeProvider clock,
    ILogger<ModelFollower> logger) : IModelFollower, ILifecycleParticipant<ISiloLifecycle>, IDisposable
{
    private readonly SemaphoreSlim _signal = new(0, 1);
    private readonly CancellationTokenSource _stopping = new();
    private Task _running = Task.CompletedTask;

    /// <inheritdoc/>
    public void Wake()
    {
        try
        {
            _signal.Release();
        }
        catch (Exception error) when (error is SemaphoreFullException or ObjectDisposedException)
        {
            // It looks at the list anyway, or is over.
        }
    }

    // Starts last, because its calls need the whole silo.
    public void Participate(ISiloLifecycle observer) => observer.Subscribe(
        nameof(ModelFollower), ServiceLifecycleStage.Last,
        _ =>
        {
            _running = Task.Run(RunAsync, CancellationToken.None);
            return Task.CompletedTask;
        },
        async cancellation =>
        {
            await _stopping.CancelAsync();
            await _running.WaitAsync(cancellation);
        });

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping.Dispose();
        _signal.Dispose();
    }

    private async Task RunAsync()
    {
        if (device is not IOffersModels host)
        {
            return;
        }

        TimeSpan period = models.Value.ConfirmPeriod, pause = options.Value.RetryPause;
        try
        {
            while (!_stopping.IsCancellationRequested)
            {
                bool isComplete = await TryFollowAsync(host);
                await WaitAsync(isComplete ? period : pause);
                pause = isComplete
                    ? options.Value.RetryPause : TimeSpan.FromTicks(Math.Min(2 * pause.Ticks, period.Ticks));
            }
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            // The silo stops.
        }
    }

    private async Task WaitAsync(TimeSpan time)
    {
        using var late = new CancellationTokenSource(time, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, _stopping.Token);
        try
        {
            await _signal.WaitAsync(either.Token);
        }
        catch (OperationCanceledException) when (!_stopping.IsCancellationRequested)
        {
            // The time is over.
        }
    }

    private async Task<bool> TryFollowAsync(IOffersModels host)
    {
        try
        {
            PublishedModel[]? published = await GrainCalls.TryAsync(() => grains.PublishedModels().ListAsync());
            return published is not null && await FollowAsync(host, published);
        }
        catch (Exception error) when (error is not (OperationCanceledException or OutOfMemoryException))
        {
            logger.FollowingFailed(error);
            return false;
        }
    }

    // Whether all models could be fetched. A model that does not fit is not retried before the next period.
    private async Task<bool> FollowAsync(IOffersModels host, PublishedModel[] published)
    {
        cache.Keep(published);
        bool isComplete = true;
        List<DeviceModel> offered = [];
        foreach (PublishedModel model in published)
        {
            try
            {
                offered.Add(await cache.GetAsync(model, _stopping.Token));
            }
            catch (Exception error) when (error is CacheFullException or RefusedFileException or InvalidDataException
                or IOException or UnauthorizedAccessException)
            {
                isComplete &= error is CacheFullException;
                logger.ModelNotFetched(model.Name, model.Digest, error.Message);
            }
        }

        foreach (DeviceModel added in offered.Where(model =>
            device.Description.Models.All(card => card.Digest != model.Card.Digest)))
        {
            logger.ModelOffered(added.Card.Name, added.Card.Digest);
        }

        host.Offer(offered);
        await GrainCalls.TryAsync(() => grains.Worker(
            new WorkerKey(silo.Name, device.Description.Device).ToString()).WakeAsync());
        return isComplete;
    }
}
