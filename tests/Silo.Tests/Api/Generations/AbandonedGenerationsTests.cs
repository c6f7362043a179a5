// Goal: a generation whose client has disconnected is cancelled although the grain still counts that client as a
// reader, and one with another reader is not waited for without end. Method: grains and a clock that the test controls.
using System.Reflection;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Tests.Devices;
using Atelier.Silo.Tests.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting.Internal;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Atelier.Silo.Tests.Api.Generations;

public sealed class AbandonedGenerationsTests
{
    private readonly FakeTime _time = new();
    private readonly ApplicationLifetime _lifetime = new(NullLogger<ApplicationLifetime>.Instance);
    private readonly Followed _grains = Followed.New();

    [Fact]
    public async Task AGenerationWithoutAReader_IsCancelledAtOnce()
    {
        await CancelAsync("a", "b");
        Assert.Equal(["a", "b"], _grains.Cancelled.Order(StringComparer.Ordinal));
        Assert.Equal(2, _grains.Asks);
    }

    [Fact]
    public async Task AReaderThatExpires_DelaysTheCancellationOfItsGenerationAlone()
    {
        _grains.Readers["a"] = 2;
        Task cancelling = CancelAsync("a", "b");
        Assert.Equal(["b"], _grains.Cancelled);
        await PassAsync();
        await PassAsync();
        await cancelling;
        Assert.Equal(["b", "a"], _grains.Cancelled);
        Assert.Equal(4, _grains.Asks);
    }

    [Fact]
    public async Task AReaderThatStays_KeepsTheGeneration_AndIsNotWaitedFor()
    {
        _grains.Readers["a"] = int.MaxValue;
        Task cancelling = CancelAsync("a");
        await PassAsync();
        await PassAsync();
        await cancelling;
        Assert.Empty(_grains.Cancelled);
    }

    [Fact]
    public async Task ASiloThatStops_DoesNotWait()
    {
        _grains.Readers["a"] = int.MaxValue;
        Task cancelling = CancelAsync("a");
        _lifetime.StopApplication();
        await cancelling;
        Assert.Equal(1, _grains.Asks);
    }

    private Task CancelAsync(params string[] ids)
    {
        var instruments = new ApiInstruments(new ServiceCollection().AddMetrics().BuildServiceProvider()
            .GetRequiredService<System.Diagnostics.Metrics.IMeterFactory>());
        var calls = new GrainCaller(_time, _lifetime, instruments);
        return new AbandonedGenerations(_grains.Factory, calls, _time, _lifetime).CancelAsync(
            [.. ids.Select(id => new GenerationKey(new TenantId("tenant"), new GenerationId(id)))]);
    }

    private async Task PassAsync()
    {
        await _time.TimersAsync(1);
        _time.Advance(TimeSpan.FromSeconds(12));
    }

    /// <summary>Generations, some of which have readers for a number of calls.</summary>
    public class Followed : DispatchProxy
    {
        private GenerationKey _key;
        private Followed? _all;

        internal Dictionary<string, int> Readers { get; } = [];

        internal List<string> Cancelled { get; } = [];

        internal int Asks { get; private set; }

        internal IGrainFactory Factory { get; private set; } = null!;

        internal static Followed New()
        {
            IGrainFactory none = Create<IGrainFactory, Followed>();
            var all = (Followed)(object)none;
            all.Factory = none;
            return all;
        }

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod!.Name != nameof(IGenerationGrain.CancelUnwatchedAsync))
            {
                IGenerationGrain generation = Create<IGenerationGrain, Followed>();
                ((Followed)(object)generation)._all = this;
                Assert.True(GenerationKey.TryParse((string)args![0]!, out ((Followed)(object)generation)._key));
                return generation;
            }

            return Task.FromResult<GenerationView?>(_all!.Cancel(_key));
        }

        private GenerationView Cancel(GenerationKey key)
        {
            Asks++;
            bool isRead = Readers.GetValueOrDefault(key.Id.Value) > 0;
            if (isRead)
            {
                Readers[key.Id.Value]--;
            }
            else
            {
                Cancelled.Add(key.Id.Value);
            }

            return new GenerationView
            {
                Key = key, Submission = new Submission { Spec = TinyModels.Spec(TinyModels.First) },
                Phase = isRead ? GenerationPhase.Denoising : GenerationPhase.Cancelled,
                AcceptedAt = DateTimeOffset.UnixEpoch,
            };
        }
    }
}
