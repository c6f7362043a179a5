// Goal: a broken device fails no request: it ends its process, and the work it held continues elsewhere. A request that
// a working device cannot do fails. Method: devices that throw, with a probe that distinguishes the two.
using System.Collections.Concurrent;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Atelier.Grains.Tests.Telemetry;
using Xunit;

namespace Atelier.Grains.Tests.Workers;

public sealed class BrokenDeviceTests
{
    [Theory]
    [InlineData(GenerationError.KernelFailed)]
    [InlineData(GenerationError.NonFinite)]
    [InlineData(GenerationError.OutOfMemory)]
    public async Task ADeviceThatThrowsAndFailsItsProbe_EndsItsWorker_AndFailsNoRequest(GenerationError error)
    {
        var faults = new ConcurrentQueue<Exception>();
        var broken = new FakeDevice("d", 4)
        {
            Evaluating = _ => throw new DeviceException(error, "broken"),
            Probing = () => throw new InvalidOperationException("the answer is wrong"),
        };
        bool isFirst = true;
        using var ended = new SemaphoreSlim(0);
        await using TestCluster cluster = await TestCluster.StartAsync(
            1,
            _ =>
            {
                FakeDevice device = isFirst ? broken : new FakeDevice("d", 4);
                isFirst = false;
                return device;
            },
            grains => grains.Worker.OnFault = fault =>
            {
                faults.Enqueue(fault);
                ended.Release();
            });
        GenerationSpec[] specs = [.. Enumerable.Range(0, 8).Select(i => TestCluster.Spec(i))];
        await Task.WhenAll(specs.Select((spec, i) => cluster.SubmitAsync($"g{i}", new Submission { Spec = spec })));
        Assert.True(await ended.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken));

        // Started earlier, it could do all of the work alone.
        await cluster.Silos.StartSilosAsync(1, TestContext.Current.CancellationToken);
        List<GenerationEvent>[] all = await Task.WhenAll(specs.Select((_, i) => cluster.WatchAsync($"g{i}")));
        Assert.All(specs.Zip(all), pair =>
            Assert.Equal(FakeDevice.Undisturbed(pair.First), cluster.Blobs[pair.Second[^1].Picture!.Value]));
        Assert.Contains("is broken", Assert.Single(faults).InnerException!.Message);
    }

    [Fact]
    public async Task ARequestThatASoundDeviceCannotDo_Fails_AndTheWorkerContinues()
    {
        var device = new FakeDevice("d", 4);
        (int probes, int failedBatches) = (0, 0);
        device.Probing = () => probes++;
        device.Evaluating = pictures =>
        {
            if (!pictures.Any(picture => picture.Spec.Seed == 1))
            {
                return Task.CompletedTask;
            }

            failedBatches += pictures.Count > 1 ? 1 : 0;
            throw new DeviceException(GenerationError.KernelFailed, "this one");
        };
        await using TestCluster cluster = await TestCluster.StartAsync(1, _ => device);
        using var measurements = new Measurements(cluster.Meters);
        await Task.WhenAll(
            Enumerable.Range(0, 4).Select(
                i => cluster.SubmitAsync($"g{i}", new Submission { Spec = TestCluster.Spec(i) })));
        List<GenerationEvent>[] all = await Task.WhenAll(
            Enumerable.Range(0, 4).Select(i => cluster.WatchAsync($"g{i}")));
        Assert.Equal(
            [GenerationPhase.Done, GenerationPhase.Failed, GenerationPhase.Done, GenerationPhase.Done],
            all.Select(events => events[^1].Phase));
        Assert.Equal(GenerationError.KernelFailed, all[1][^1].Error);
        Assert.Equal(2, probes);
        Assert.Equal(failedBatches, measurements["atelier.worker.batches.failed"]);
    }
}
