// The models of a device: which ones are in memory, which one is loaded next and which are evicted for it, and their
// registration with the catalog. The device's list of models may change at any time. Only the worker's loop uses this
// class; RegisterAsync and LoadAsync run as tasks beside the loop.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Models;
using Atelier.Grains.Ports;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Workers;

/// <summary>Which models a worker has in memory, and which it may load.</summary>
internal sealed class ModelResidency(
    WorkerKey key, IDevice device, IGrainFactory grains, WorkerOptions options, ModelOptions models,
    TimeProvider clock, BusyTime busy, ILogger logger)
{
    private readonly long _memoryBytes = device.Description.MemoryBytes;

    // A device that begins with one model holds that model whatever its size, also after others were added.
    private readonly ModelDigest? _first = device.Description.Models is [var only] ? only.Digest : null;

    // The models in memory, each with its size and the times of its load and of its last lease; the models that could
    // not be loaded, each with the time of the attempt.
    private readonly Dictionary<ModelDigest, (long Bytes, long LoadedAt, long UsedAt)> _loaded = [];
    private readonly Dictionary<ModelDigest, long> _refused = [];

    private Change? _change;
    private DateTimeOffset _changeFrom;
    private long _loadEndedAt;
    private TimeSpan _loadTook;
    private long _registeredAt;
    private TimeSpan _registersAfter;
    private IReadOnlyList<ModelCard>? _registered;

    /// <summary>The model that was loaded last; null before the first load.</summary>
    public ModelDigest? Latest { get; private set; }

    /// <summary>Time since the last load, divided by the duration of that load; null before the first load.</summary>
    public double? LoadAge => _loadTook > TimeSpan.Zero ? clock.GetElapsedTime(_loadEndedAt) / _loadTook : null;

    /// <summary>
    /// Whether it is time to confirm the worker's models to the catalog: periodically, and when the models changed.
    /// </summary>
    public bool IsRegistrationDue => clock.GetElapsedTime(_registeredAt) >= _registersAfter
        || (_registered is not null && !ReferenceEquals(_registered, Offered));

    /// <summary>
    /// The model of a device that has only one, if that model is not loaded; such a model is loaded without a request.
    /// </summary>
    public ModelDigest? OnlyMissing => Offered.Count == 1
        && States().ToArray() is [{ Place: ModelPlace.Beside or ModelPlace.Instead } only] ? only.Model : null;

    private IReadOnlyList<ModelCard> Offered => device.Description.Models;

    /// <summary>
    /// The models that the worker may hold, and whether each is loaded, is being loaded, fits into the free memory or
    /// needs evictions. A model that failed to load is left out for a while. A model larger than the device's memory is
    /// always left out, unless it was the device's only model at the start.
    /// </summary>
    public IEnumerable<WorkerModel> States()
    {
        long free = _memoryBytes - _loaded.Values.Sum(loaded => loaded.Bytes);
        foreach (ModelCard card in Offered)
        {
            bool isRefused = _refused.TryGetValue(card.Digest, out long at)
                && clock.GetElapsedTime(at) < options.RefusedModelPause;
            if (!isRefused && (card.MemoryBytes <= _memoryBytes || card.Digest == _first))
            {
                yield return new WorkerModel(card.Digest, card.Digest switch
                {
                    var model when model == _change?.Model => ModelPlace.Loading,
                    var model when _loaded.ContainsKey(model) && _change?.Evict.Contains(model) != true =>
                        ModelPlace.Loaded,
                    _ => card.MemoryBytes <= free ? ModelPlace.Beside : ModelPlace.Instead,
                });
            }
        }
    }

    /// <summary>Records that work for a model was leased.</summary>
    public void MarkUsed(ModelDigest model)
    {
        if (_loaded.TryGetValue(model, out (long Bytes, long LoadedAt, long UsedAt) loaded))
        {
            _loaded[model] = loaded with { UsedAt = clock.GetTimestamp() };
        }
    }

    /// <summary>
    /// Plans to load a model. Returns the models to evict first, once the worker has returned the work that needs them.
    /// Plans nothing and returns an empty list if another load is planned, during the pause after a load that got no
    /// answer, and if the device does not offer the model anymore.
    /// </summary>
    public IReadOnlyList<ModelDigest> Plan(ModelDigest model, Func<ModelDigest, bool> isInUse)
    {
        ModelCard? card = Offered.FirstOrDefault(card => card.Digest == model);
        if (_change is not null || clock.GetUtcNow() < _changeFrom || card is null)
        {
            return [];
        }

        LoadedModel[] loaded =
        [
            .. _loaded.Select(one => new LoadedModel(
                one.Key, one.Value.Bytes, isInUse(one.Key), clock.GetElapsedTime(0, one.Value.LoadedAt),
                clock.GetElapsedTime(0, one.Value.UsedAt))),
        ];
        _change = new Change(
            model, card.MemoryBytes, ModelChoice.Evictions(loaded, card.MemoryBytes, _memoryBytes));
        return _change.Evict;
    }

    /// <summary>
    /// Returns the planned load, for the caller to run, once no work needs the models that are evicted for it; null if
    /// there is nothing to load yet. Without a planned load, it is the eviction of models that the device does not
    /// offer anymore.
    /// </summary>
    public Func<Task>? BeginLoad(Func<ModelDigest, bool> isInUse)
    {
        if (_change is null
            && _loaded.Keys.Except(Offered.Select(card => card.Digest)).Where(model => !isInUse(model)).ToArray()
                is { Length: > 0 } withdrawn)
        {
            _change = new Change(null, 0, withdrawn);
        }

        if (_change is not { HasBegun: false } change || change.Evict.Any(isInUse))
        {
            return null;
        }

        change.HasBegun = true;
        foreach (ModelDigest old in change.Evict)
        {
            _loaded.Remove(old);
        }

        return () => LoadAsync(change);
    }

    /// <summary>Records how the load ended.</summary>
    /// <param name="isAnswered">Whether the device answered; if not, the load is retried after a pause.</param>
    public void EndLoad(bool isAnswered)
    {
        if (!isAnswered)
        {
            _changeFrom = clock.GetUtcNow() + options.RetryPause;
        }
        else if (_change is { Model: { } model, Took: { } took })
        {
            Latest = model;
            (_loadEndedAt, _loadTook) = (clock.GetTimestamp(), took);
            _loaded[model] = (_change.Bytes, _loadEndedAt, _loadEndedAt);
        }
        else if (_change is { Model: { } refused })
        {
            _refused[refused] = clock.GetTimestamp();
        }

        _change = null;
    }

    /// <summary>
    /// Confirms the worker's models to the catalog. A model that cannot be registered gets no work, but blocks neither
    /// the other models nor the loop.
    /// </summary>
    public async Task RegisterAsync()
    {
        _registersAfter = models.ConfirmPeriod;
        _registered = Offered;
        foreach (ModelCard card in _registered)
        {
            try
            {
                if (!await grains.Catalog().RegisterAsync(card))
                {
                    logger.CatalogFull(key, card.Name, card.Digest, IModelCatalogGrain.SizeMax);
                }
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                logger.CallUnanswered(key, error);
                _registersAfter = options.RetryPause;
            }
            catch (Exception error)
            {
                logger.ModelUnregistered(key, card.Name, card.Digest, error);
            }
        }

        _registeredAt = clock.GetTimestamp();
    }

    // Work for a model that cannot be loaded is left to other workers or to a later attempt, so a damaged model does
    // not block the others.
    private async Task LoadAsync(Change change)
    {
        foreach (ModelDigest old in change.Evict)
        {
            await device.EvictAsync(old, CancellationToken.None);
        }

        if (change.Model is not { } model)
        {
            return;
        }

        long began = clock.GetTimestamp();
        try
        {
            using BusyTime.Call call = busy.Begin();
            await device.LoadAsync(model, CancellationToken.None);
            change.Took = clock.GetElapsedTime(began);
        }
        catch (DeviceException error)
        {
            logger.ModelRefused(key, model, error);
        }
    }

    // The model to load, or null if models are only evicted; the models to evict; and the duration of the load, which
    // is null if the device could not load the model.
    private sealed class Change(ModelDigest? model, long bytes, IReadOnlyList<ModelDigest> evict)
    {
        public ModelDigest? Model { get; } = model;

        public long Bytes { get; } = bytes;

        public IReadOnlyList<ModelDigest> Evict { get; } = evict;

        public bool HasBegun { get; set; }

        public TimeSpan? Took { get; set; }
    }
}
