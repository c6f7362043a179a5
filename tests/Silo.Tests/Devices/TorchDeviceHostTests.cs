// Goal: a device produces the command line's picture, byte for byte, in any batch and however often the picture moved;
// models are loaded and evicted; errors have the right names. Method: whole models, small, through the port alone.
using System.Diagnostics.Metrics;
using System.Runtime.InteropServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Model;
using Atelier.Model.Imaging;
using Atelier.Silo.Devices;
using Microsoft.Extensions.DependencyInjection;
using TorchSharp;
using Xunit;

namespace Atelier.Silo.Tests.Devices;

public sealed class TorchDeviceHostTests : IDisposable
{
    private static readonly GenerationSpec s_spec = TinyModels.Spec(TinyModels.First);

    private readonly List<DeviceLane> _lanes = [];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _lanes.ForEach(lane => lane.Dispose());

    [Fact]
    public async Task APicture_AloneAndInABatch_HasTheCommandLinesBytes()
    {
        GenerationSpec[] specs =
        [
            s_spec, s_spec with { Prompt = "blue", Negative = "", Seed = 0, Steps = 4 },
            s_spec with { Guidance = 1, Steps = 1 }, s_spec with { Seed = ulong.MaxValue, Steps = 2, Negative = "" },
        ];
        using TorchDeviceHost device = await HostAsync(TinyModels.First);
        byte[][] together = await DrawAsync(device, specs);
        for (int i = 0; i < specs.Length; i++)
        {
            Assert.Equal(TinyModels.Expected(TinyModels.First, specs[i]), together[i]);
            Assert.Equal(together[i], (await DrawAsync(device, specs[i]))[0]);
        }

        Assert.Equal(4, together.Select(Convert.ToHexString).Distinct().Count());
    }

    [Fact]
    public async Task StoppedAfterAnyEvaluation_AndResumedOnAnotherDevice_ItHasTheSameBytes()
    {
        byte[] straight = TinyModels.Expected(TinyModels.First, s_spec);
        using TorchDeviceHost first = await HostAsync(TinyModels.First), second = await HostAsync(TinyModels.First);
        byte[] caption = await first.EncodeAsync(s_spec, Cancellation);
        Assert.Equal(caption, await second.EncodeAsync(s_spec, Cancellation));
        using IDenoising picture = await first.BeginAsync(s_spec, caption, null, Cancellation);
        int evaluations = 0;
        while (!picture.IsDone)
        {
            using IDenoising rest = await second.BeginAsync(s_spec, caption, picture.Snapshot(), Cancellation);
            Assert.Equal((picture.Step, picture.IsBetweenSteps), (rest.Step, rest.IsBetweenSteps));
            while (!rest.IsDone)
            {
                await second.EvaluateAsync([rest], Cancellation);
            }

            Assert.Equal(straight, await second.DecodeAsync(s_spec, rest.Latent(), Cancellation));
            await first.EvaluateAsync([picture], Cancellation);
            evaluations++;
        }

        Assert.Equal(s_spec.Evaluations, evaluations);
        Assert.Equal(straight, await second.DecodeAsync(s_spec, picture.Latent(), Cancellation));
    }

    [Fact]
    public async Task Previews_AreTheDenoisedEstimates_TheSameOnEveryDevice_AndBearNoParameters()
    {
        using TorchDeviceHost first = await HostAsync(TinyModels.First), second = await HostAsync(TinyModels.First);
        byte[] caption = await first.EncodeAsync(s_spec, Cancellation);
        using IDenoising picture = await first.BeginAsync(s_spec, caption, null, Cancellation);
        await Assert.ThrowsAsync<InvalidOperationException>(() => first.PreviewAsync(s_spec, picture, Cancellation));
        List<byte[]> previews = [];
        while (!picture.IsDone)
        {
            using IDenoising rest = await second.BeginAsync(s_spec, caption, picture.Snapshot(), Cancellation);
            await second.EvaluateAsync([rest], Cancellation);
            await first.EvaluateAsync([picture], Cancellation);
            previews.Add(await first.PreviewAsync(s_spec, picture, Cancellation));
            Assert.Equal(previews[^1], await second.PreviewAsync(s_spec, rest, Cancellation));
        }

        Assert.Equal(s_spec.Evaluations, previews.Select(Convert.ToHexString).Distinct().Count());
        Assert.All(previews, preview => Assert.Empty(Png.ReadTexts(new MemoryStream(preview))));
    }

    [Fact]
    public async Task TwoModels_AreLoadedAndEvicted_AndEachDrawsItsOwnPictures()
    {
        int loads = 0;
        DeviceModel counted = TinyModels.First with
        {
            Load = width =>
            {
                loads++;
                return TinyModels.First.Load(width);
            },
        };
        GenerationSpec other = TinyModels.Spec(TinyModels.Second);
        await using ServiceProvider services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        IMeterFactory meters = services.GetRequiredService<IMeterFactory>();
        using TorchDeviceHost device = Host(
            [counted, TinyModels.Second], instruments: new DeviceInstruments(meters));
        using var measurements = new Measurements(meters);
        ModelDigest one = s_spec.Model, two = other.Model;
        await Assert.ThrowsAsync<InvalidOperationException>(() => device.EncodeAsync(s_spec, Cancellation));
        await device.EvictAsync(one, Cancellation);
        await device.LoadAsync(one, Cancellation);
        await device.LoadAsync(one, Cancellation);
        await device.LoadAsync(two, Cancellation);
        Assert.Equal(TinyModels.Expected(TinyModels.First, s_spec), (await DrawAsync(device, s_spec))[0]);
        Assert.Equal(TinyModels.Expected(TinyModels.Second, other), (await DrawAsync(device, other))[0]);
        using IDenoising small = await BeginAsync(device, other), large = await BeginAsync(device, s_spec);
        await Assert.ThrowsAsync<ArgumentException>(() => device.EvaluateAsync([small, large], Cancellation));
        Assert.Equal(counted.Card.MemoryBytes + TinyModels.Second.Card.MemoryBytes, ModelMemory());
        await device.EvictAsync(one, Cancellation);
        Assert.Equal(TinyModels.Second.Card.MemoryBytes, ModelMemory());
        await Assert.ThrowsAsync<InvalidOperationException>(() => device.EvaluateAsync([large], Cancellation));
        await device.LoadAsync(one, Cancellation);
        await device.EvaluateAsync([large], Cancellation);
        Assert.Equal(2, loads);
        Assert.Equal(3, measurements.Count("atelier.device.load.duration"));
        await Assert.ThrowsAsync<InvalidOperationException>(
            () => device.LoadAsync(new ModelDigest(new string('0', 64)), Cancellation));

        double ModelMemory()
        {
            measurements.Observe();
            return measurements["atelier.device.model.memory"];
        }
    }

    [Fact]
    public async Task PicturesThatWereDrawn_OrDroppedHalfWay_LeaveNoTensors()
    {
        // Loading happens on the device's thread, so its tensors can be counted there.
        List<long> alive = [];
        DeviceModel probe = TinyModels.Second with
        {
            Load = width =>
            {
                alive.Add(DisposeScopeManager.Statistics.ThreadTotalLiveCount);
                return TinyModels.Second.Load(width);
            },
        };
        using TorchDeviceHost device = Host([TinyModels.First, probe]);
        await device.LoadAsync(s_spec.Model, Cancellation);
        for (int round = 0; round < 3; round++)
        {
            await DrawAsync(device, s_spec, s_spec with { Seed = 6 });
            using (IDenoising dropped = await BeginAsync(device, s_spec))
            {
                await device.EvaluateAsync([dropped], Cancellation);
                await device.PreviewAsync(s_spec, dropped, Cancellation);
            }

            await device.LoadAsync(probe.Card.Digest, Cancellation);
            await device.EvictAsync(probe.Card.Digest, Cancellation);
        }

        Assert.Equal([alive[0], alive[0], alive[0]], alive);
    }

    [Fact]
    public async Task InputThatDoesNotFitTheModel_IsRefused_AndThePictureIsUnchanged()
    {
        using TorchDeviceHost device = await HostAsync(TinyModels.First);
        byte[] caption = await device.EncodeAsync(s_spec, Cancellation);
        await RefusesAsync(() => device.EncodeAsync(s_spec with { Width = 64, Height = 64 }, Cancellation));
        await RefusesAsync(() => device.EncodeAsync(s_spec with { Height = 16 }, Cancellation));
        await RefusesAsync(() => device.EncodeAsync(s_spec with { Steps = 0 }, Cancellation));
        await RefusesAsync(() => device.BeginAsync(s_spec, caption[..^1], null, Cancellation));
        await RefusesAsync(() => device.BeginAsync(s_spec, [], null, Cancellation));
        await RefusesAsync(() => device.BeginAsync(s_spec, caption, [1, 2, 3], Cancellation));
        using IDenoising picture = await device.BeginAsync(s_spec, caption, null, Cancellation);
        await RefusesAsync(() => device.DecodeAsync(s_spec, picture.Snapshot(), Cancellation));
        Assert.Throws<InvalidOperationException>(() => picture.Latent());
        while (picture.Step < 2)
        {
            await device.EvaluateAsync([picture], Cancellation);
        }

        GenerationSpec shorter = s_spec with { Steps = 1 };
        await RefusesAsync(() => device.BeginAsync(shorter, caption, picture.Snapshot(), Cancellation));
        Assert.Equal(2, picture.Step);

        static async Task RefusesAsync(Func<Task> call)
        {
            DeviceException error = await Assert.ThrowsAsync<DeviceException>(call);
            Assert.Equal(GenerationError.InvalidRequest, error.Error);
            Assert.EndsWith(".", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(ModelParts.TextEncoder)]
    [InlineData(ModelParts.Denoiser)]
    [InlineData(ModelParts.Decoder)]
    public async Task APartThatReturnsNaN_IsTheModelsFault_AndIsNamed(string part)
    {
        DeviceModel model = TinyModels.Spoiled(part);
        GenerationSpec spec = TinyModels.Spec(model);
        using TorchDeviceHost sound = await HostAsync(TinyModels.First), device = await HostAsync(model);
        byte[] caption = await sound.EncodeAsync(s_spec, Cancellation);
        using IDenoising drawn = await sound.BeginAsync(s_spec, caption, null, Cancellation);
        while (!drawn.IsDone)
        {
            await sound.EvaluateAsync([drawn], Cancellation);
        }

        using IDenoising picture = await device.BeginAsync(spec, caption, null, Cancellation);
        switch (part)
        {
            case ModelParts.TextEncoder:
                await FailsAsync(() => device.EncodeAsync(spec, Cancellation));
                await FailsAsync(() => device.EncodeAsync(spec with { Negative = "" }, Cancellation));
                break;
            case ModelParts.Denoiser:
                await FailsAsync(() => device.EvaluateAsync([picture], Cancellation));
                Assert.Equal((0, true), (picture.Step, picture.IsBetweenSteps)); // It is where it was.
                break;
            default:
                await device.EvaluateAsync([picture], Cancellation);
                await FailsAsync(() => device.PreviewAsync(spec, picture, Cancellation));
                await FailsAsync(() => device.DecodeAsync(spec, drawn.Latent(), Cancellation));
                break;
        }

        async Task FailsAsync(Func<Task> call)
        {
            DeviceException error = await Assert.ThrowsAsync<DeviceException>(call);
            Assert.Equal(GenerationError.NonFinite, error.Error);
            Assert.Equal(
                $"The {part} of the model spoiled {part} gave NaN instead of a finite number.",
                error.Message);
        }
    }

    // No client has made these bytes, so no client is at fault.
    [Fact]
    public async Task NonFiniteStoredNumbers_AreNotTheClientsFault()
    {
        using TorchDeviceHost device = await HostAsync(TinyModels.First);
        byte[] caption = await device.EncodeAsync(s_spec, Cancellation);
        using IDenoising picture = await device.BeginAsync(s_spec, caption, null, Cancellation);
        byte[] start = picture.Snapshot();
        while (!picture.IsDone)
        {
            await device.EvaluateAsync([picture], Cancellation);
        }

        await FailsAsync("stored caption", () => device.BeginAsync(s_spec, Spoiled(caption), null, Cancellation));
        await FailsAsync("stored state", () => device.BeginAsync(s_spec, caption, Spoiled(start), Cancellation));
        await FailsAsync("stored state", () => device.DecodeAsync(s_spec, Spoiled(picture.Latent()), Cancellation));

        // The last number, float32 or float64, with an exponent of all ones.
        static byte[] Spoiled(byte[] bytes) => [.. bytes[..^2], 0xF0, 0x7F];

        static async Task FailsAsync(string what, Func<Task> call)
        {
            DeviceException error = await Assert.ThrowsAsync<DeviceException>(call);
            Assert.Equal(GenerationError.NonFinite, error.Error);
            Assert.StartsWith($"The {what}", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("DefaultCPUAllocator: can't allocate memory: you tried to", GenerationError.OutOfMemory)]
    [InlineData("CUDA out of memory. Tried to allocate 2.00 GiB", GenerationError.OutOfMemory)]
    [InlineData("CUDA error: out of memory", GenerationError.OutOfMemory)]
    [InlineData("mat1 and mat2 shapes cannot be multiplied\nat somewhere", GenerationError.KernelFailed)]
    public async Task ErrorsOfLibtorch_HaveTheirNames_AndTheDeviceContinues(string message, GenerationError expected)
    {
        bool fails = true;
        DeviceModel model = Failing(() => fails ? Torch(message) : null);
        using TorchDeviceHost device = Host([model]);
        DeviceException error = await Assert.ThrowsAsync<DeviceException>(
            () => device.LoadAsync(model.Card.Digest, Cancellation));
        Assert.Equal(expected, error.Error);
        Assert.DoesNotContain("\n", error.Message, StringComparison.Ordinal);
        fails = false;
        await device.LoadAsync(model.Card.Digest, Cancellation);
        Assert.Single(await DrawAsync(device, s_spec));
    }

    [Fact]
    public async Task AModelOfferedLater_IsLoadedAndDrawn_AlsoAfterItIsWithdrawn_UntilItIsEvicted()
    {
        using TorchDeviceHost device = await HostAsync(TinyModels.First);
        IReadOnlyList<ModelCard> before = device.Description.Models;
        device.Offer([]);
        Assert.Same(before, device.Description.Models);
        ModelCard added = TinyModels.Second.Card;
        device.Offer([TinyModels.Second, TinyModels.First]);
        Assert.Equal([TinyModels.First.Card, added], device.Description.Models);

        GenerationSpec spec = TinyModels.Spec(TinyModels.Second);
        await device.LoadAsync(added.Digest, Cancellation);
        device.Offer([]);
        Assert.Equal([TinyModels.First.Card], device.Description.Models);
        Assert.Equal(TinyModels.Expected(TinyModels.Second, spec), (await DrawAsync(device, spec))[0]);
        await device.EvictAsync(added.Digest, Cancellation);
        await Assert.ThrowsAsync<InvalidOperationException>(() => DrawAsync(device, spec));
    }

    [Fact]
    public async Task AnErrorThatSticks_EndsTheProcess()
    {
        List<Exception> faults = [];
        DeviceModel model = Failing(() => Torch("CUDA error: an illegal memory access was encountered"));
        using TorchDeviceHost device = Host([model], new TorchDeviceOptions { OnFault = faults.Add });
        await Assert.ThrowsAsync<DeviceLostException>(() => device.LoadAsync(model.Card.Digest, Cancellation));
        Assert.IsType<DeviceLostException>(Assert.Single(faults));
        await Assert.ThrowsAsync<InvalidOperationException>(() => device.EvictAsync(model.Card.Digest, Cancellation));
        Assert.Single(faults);
    }

    [Fact]
    public async Task AnOverdueKernel_EndsTheProcess()
    {
        List<Exception> faults = [];
        using var never = new ManualResetEventSlim();
        DeviceModel model = Failing(() =>
        {
            never.Wait(CancellationToken.None);
            return null;
        });
        using TorchDeviceHost device = Host(
            [model], new TorchDeviceOptions { OnFault = faults.Add, LoadTimeout = TimeSpan.FromMilliseconds(50) });
        await Assert.ThrowsAsync<DeviceLostException>(() => device.LoadAsync(model.Card.Digest, Cancellation));
        Assert.Contains("took longer than 0.05 s", Assert.Single(faults).Message, StringComparison.Ordinal);
        never.Set();
    }

    [Fact]
    public void InvalidOptions_AreRefused()
    {
        TorchDeviceOptions[] rows =
        [
            new() { Name = "a/b" }, new() { Roles = WorkRoles.None }, new() { Roles = (WorkRoles)8 },
            new() { Slots = 0 }, new() { Slots = 2000 }, new() { Threads = 0 }, new() { MemoryBytes = 0 },
            new() { WorkTimeout = TimeSpan.Zero }, new() { LoadTimeout = TimeSpan.Zero },
        ];
        DeviceLane lane = DeviceLane.Of(new TorchDeviceOptions(), TimeProvider.System);
        _lanes.Add(lane);
        Assert.All(
            rows, row => Assert.Throws<ArgumentException>(() => new TorchDeviceHost([TinyModels.First], row, lane)));
    }

    [Fact]
    public void TheCard_SaysWhatAPictureCosts_AndWhatTheDeviceIs()
    {
        using TorchDeviceHost device = Host([TinyModels.First, TinyModels.Second]);
        Assert.Equal(["first", "second"], device.Description.Models.Select(card => card.Name));
        Assert.Equal([new PictureSize(32, 32)], device.Description.Models[0].Sizes);
        Assert.All(
            device.Description.Models,
            card => Assert.True(card is { EncodeCost: > 0, EvaluationCost: > 0, DecodeCost: > 0 }));
        Assert.True(device.Description.Models[0].EvaluationCost > device.Description.Models[1].EvaluationCost);
        Assert.Matches("^cpu-[a-z0-9.-]+-t1-w2$", device.Description.DeviceKind);
    }

#pragma warning disable CA2201 // It is what TorchSharp throws.
    private static ExternalException Torch(string message) => new(message);
#pragma warning restore CA2201

    // TinyModels.First under its own digest, whose loading may fail.
    private static DeviceModel Failing(Func<Exception?> error) =>
        TinyModels.First with { Load = width => error() is { } thrown ? throw thrown : TinyModels.First.Load(width) };

    private TorchDeviceHost Host(
        DeviceModel[] models, TorchDeviceOptions? options = null, DeviceInstruments? instruments = null)
    {
        options ??= new TorchDeviceOptions();
        _lanes.Add(DeviceLane.Of(options, TimeProvider.System));
        return new TorchDeviceHost(models, options, _lanes[^1], instruments);
    }

    private async Task<TorchDeviceHost> HostAsync(DeviceModel model)
    {
        TorchDeviceHost device = Host([model]);
        await device.LoadAsync(model.Card.Digest, Cancellation);
        return device;
    }

    private static async Task<IDenoising> BeginAsync(TorchDeviceHost device, GenerationSpec spec) =>
        await device.BeginAsync(spec, await device.EncodeAsync(spec, Cancellation), null, Cancellation);

    // Like a worker: the pictures join one after the other, and leave when they are done.
    private static async Task<byte[][]> DrawAsync(TorchDeviceHost device, params GenerationSpec[] specs)
    {
        var pictures = new List<IDenoising>();
        foreach (GenerationSpec spec in specs)
        {
            pictures.Add(await BeginAsync(device, spec));
            await device.EvaluateAsync([.. pictures.Where(picture => !picture.IsDone)], Cancellation);
        }

        while (pictures.Exists(picture => !picture.IsDone))
        {
            await device.EvaluateAsync([.. pictures.Where(picture => !picture.IsDone)], Cancellation);
        }

        var files = new byte[specs.Length][];
        for (int i = 0; i < files.Length; i++)
        {
            files[i] = await device.DecodeAsync(specs[i], pictures[i].Latent(), Cancellation);
            pictures[i].Dispose();
        }

        return files;
    }
}
