// Goal: a worker loads one model at a time, evicts a model only when no work needs it, leaves a damaged model out for a
// while, and repeats a load that got no answer after a pause. Method: the class alone, with a device of hashes that has
// room for two of three models, and a clock that the test sets.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Workers;
using Atelier.Grains.Models;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Grains.Workers;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

public sealed class ModelResidencyTests
{
    private static readonly ModelDigest[] s_models = [.. Enumerable.Range(0, 3).Select(FakeDevice.ModelOf)];

    private readonly ShiftedClock _clock = new();
    private readonly WorkerOptions _options = new() { RetryPause = TimeSpan.FromSeconds(10) };
    private readonly HashSet<ModelDigest> _inUse = [];
    private Func<ModelCard, Task<bool>> _registering = _ => Task.FromResult(true);

    [Fact]
    public async Task Model_IsBeside_ThenLoading_ThenLoaded()
    {
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3, memory: 250));
        Assert.Equal([ModelPlace.Beside, ModelPlace.Beside, ModelPlace.Beside], Places(residency));
        Assert.Null(residency.Latest);

        Assert.Empty(residency.Plan(s_models[0], _inUse.Contains));
        Assert.Equal([ModelPlace.Loading, ModelPlace.Beside, ModelPlace.Beside], Places(residency));
        await LoadPlannedAsync(residency);
        Assert.Equal([ModelPlace.Loaded, ModelPlace.Beside, ModelPlace.Beside], Places(residency));
        Assert.Equal(s_models[0], residency.Latest);

        await LoadAsync(residency, s_models[1]);
        Assert.Equal([ModelPlace.Loaded, ModelPlace.Loaded, ModelPlace.Instead], Places(residency));
    }

    [Fact]
    public async Task EvictedModel_GetsNoNewWork_AndStaysUntilItsWorkIsReturned()
    {
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3, memory: 250));
        await LoadAsync(residency, s_models[0]);
        await LoadAsync(residency, s_models[1]);
        _inUse.UnionWith(s_models);
        Assert.Equal([s_models[0]], residency.Plan(s_models[2], _inUse.Contains));
        Assert.Equal([ModelPlace.Instead, ModelPlace.Loaded, ModelPlace.Loading], Places(residency));
        Assert.Null(residency.BeginLoad(_inUse.Contains));

        // One change at a time: another plan has no effect.
        Assert.Empty(residency.Plan(s_models[0], _inUse.Contains));

        _inUse.Remove(s_models[0]);
        await LoadPlannedAsync(residency);
        Assert.Equal([ModelPlace.Instead, ModelPlace.Loaded, ModelPlace.Loaded], Places(residency));
    }

    [Fact]
    public async Task ModelThatWasUsedLast_IsEvictedLast()
    {
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3, memory: 250));
        await LoadAsync(residency, s_models[0]);
        await LoadAsync(residency, s_models[1]);
        _clock.Pass(TimeSpan.FromSeconds(1));
        residency.MarkUsed(s_models[0]);
        Assert.Equal([s_models[1]], residency.Plan(s_models[2], _inUse.Contains));
    }

    [Fact]
    public void PlannedLoad_IsBegunOnce()
    {
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3));
        Assert.Null(residency.BeginLoad(_inUse.Contains));
        residency.Plan(s_models[0], _inUse.Contains);
        Assert.NotNull(residency.BeginLoad(_inUse.Contains));
        Assert.Null(residency.BeginLoad(_inUse.Contains));
    }

    [Fact]
    public async Task DamagedModel_IsLeftOut_UntilThePauseIsOver()
    {
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3) { Damaged = s_models[0] });
        await LoadAsync(residency, s_models[0]);
        Assert.Equal([s_models[1], s_models[2]], residency.States().Select(state => state.Model));
        Assert.Null(residency.Latest);

        _clock.Pass(_options.RefusedModelPause);
        Assert.Equal(s_models, residency.States().Select(state => state.Model));
    }

    [Fact]
    public async Task LoadWithoutAnAnswer_IsRepeatedAfterAPause()
    {
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3));
        residency.Plan(s_models[0], _inUse.Contains);
        residency.BeginLoad(_inUse.Contains);
        residency.EndLoad(isAnswered: false);
        residency.Plan(s_models[0], _inUse.Contains);
        Assert.Null(residency.BeginLoad(_inUse.Contains));

        _clock.Shift += _options.RetryPause;
        await LoadAsync(residency, s_models[0]);
        Assert.Equal(ModelPlace.Loaded, Places(residency)[0]);
    }

    [Fact]
    public void ModelThatNeverFits_IsLeftOut_UnlessItIsTheOnlyOne()
    {
        Assert.Empty(Make(new FakeDevice("d", 4, models: 3, memory: 99)).States());
        ModelResidency alone = Make(new FakeDevice("d", 4, models: 1, memory: 99));
        Assert.Equal([ModelPlace.Instead], Places(alone));
        Assert.Equal(s_models[0], alone.OnlyMissing);
    }

    [Fact]
    public async Task OnlyModel_IsMissing_UntilItsLoadIsPlanned()
    {
        Assert.Null(Make(new FakeDevice("d", 4, models: 2)).OnlyMissing);
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 1));
        Assert.Equal(s_models[0], residency.OnlyMissing);
        residency.Plan(s_models[0], _inUse.Contains);
        Assert.Null(residency.OnlyMissing);
        await LoadPlannedAsync(residency);
        Assert.Null(residency.OnlyMissing);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Registration_IsRepeatedSooner_IfTheCatalogDoesNotAnswer_AndOneModelDoesNotBlockOthers(bool fails)
    {
        var registered = new List<ModelDigest>();
        _registering = card =>
        {
            if (fails && card.Digest == s_models[0])
            {
                throw new TimeoutException();
            }

            registered.Add(card.Digest);
            return card.Digest != s_models[1]
                ? Task.FromResult(true) : throw new InvalidOperationException("not valid");
        };
        var models = new ModelOptions();
        ModelResidency residency = Make(new FakeDevice("d", 4, models: 3), models);
        Assert.True(residency.IsRegistrationDue);
        await residency.RegisterAsync();
        Assert.Equal(fails ? s_models[1..] : s_models, registered);

        Assert.False(residency.IsRegistrationDue);
        _clock.Pass(_options.RetryPause);
        Assert.Equal(fails, residency.IsRegistrationDue);
        _clock.Pass(models.ConfirmPeriod);
        Assert.True(residency.IsRegistrationDue);
    }

    private static ModelPlace[] Places(ModelResidency residency) =>
        [.. residency.States().Select(state => state.Place)];

    private async Task LoadAsync(ModelResidency residency, ModelDigest model)
    {
        residency.Plan(model, _inUse.Contains);
        await LoadPlannedAsync(residency);
    }

    private async Task LoadPlannedAsync(ModelResidency residency)
    {
        await residency.BeginLoad(_inUse.Contains)!();
        residency.EndLoad(isAnswered: true);
        _clock.Pass(TimeSpan.FromSeconds(1));
    }

    private ModelResidency Make(FakeDevice device, ModelOptions? models = null)
    {
        IModelCatalogGrain catalog = GrainProxy.Make<IModelCatalogGrain>(
            (_, arguments) => _registering((ModelCard)arguments[0]!));
        return new ModelResidency(
            new WorkerKey("silo", "d"), device, GrainProxy.Make<IGrainFactory>((_, _) => catalog), _options,
            models ?? new ModelOptions(), _clock, new BusyTime(TestInstruments.Workers, _clock), NullLogger.Instance);
    }
}
