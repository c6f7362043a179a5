// Continuous batching against the two simpler ways to serve a device: first-come batches of whole requests, and one request
// at a time. The network's work is done for real and timed; the clock of arrivals is the sum of these times, so that the
// three ways see the same load however busy this machine is with other things between two measurements.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Grains.Batching;
using Atelier.Grains.Ports;
using Atelier.Model.Diffusion;
using Atelier.Silo.Devices;

namespace Atelier.Cli.Bench;

/// <summary>How one way of serving did in one run.</summary>
/// <param name="Way">"continuous", or "whole N" for batches of N whole requests; "whole 1" is one at a time.</param>
/// <param name="Load">Arrivals as a part of the device's capacity; 0 where all arrive at once.</param>
/// <param name="P50">Median time from arrival to picture, in seconds.</param>
/// <param name="P95">The time that 95 % of the requests stay below, in seconds.</param>
/// <param name="Throughput">Pictures a second, from the first arrival to the last picture.</param>
internal sealed record BatchingFigures(string Way, double Load, double P50, double P95, double Throughput);

/// <summary>Serves the same requests in several ways.</summary>
internal sealed class BatchingBench(DeviceModel model, TorchDeviceOptions options, int requests) : IDisposable
{
    private const string Continuous = "continuous";
    private static readonly int[] s_wholes = [1, 2, 4, 8];

    private readonly TorchDeviceHost _device = new([model], options, TimeProvider.System);

    /// <summary>Runs all ways in turn, as often as asked, with other arrivals each time.</summary>
    /// <returns>The medians over the runs.</returns>
    public async Task<IReadOnlyList<BatchingFigures>> RunAsync(int runs, Action<double> progress)
    {
        await _device.LoadAsync(model.Card.Digest, CancellationToken.None);
        byte[] caption = await _device.EncodeAsync(SpecOf(0, 0), CancellationToken.None);
        await ServeAsync(Continuous, options.Slots, [.. Arrivals(0, 0, 1).Take(4)], caption);
        var figures = new List<BatchingFigures>();
        for (int run = 0; run < runs; run++)
        {
            Arrival[] atOnce = Arrivals(run, 0, 1);
            var saturated = new List<BatchingFigures>();
            foreach (string way in Ways())
            {
                saturated.Add(Figures(way, 0, atOnce, await ServeAsync(way, WidthOf(way), atOnce, caption)));
            }

            figures.AddRange(saturated);
            double capacity = saturated.Max(one => one.Throughput);
            foreach (double load in new[] { 0.7, 0.9 })
            {
                Arrival[] arrivals = Arrivals(run, load, capacity);
                foreach (string way in Ways())
                {
                    figures.Add(Figures(way, load, arrivals, await ServeAsync(way, WidthOf(way), arrivals, caption)));
                }
            }

            progress((run + 1.0) / runs);
        }

        return
        [
            .. figures.GroupBy(one => (one.Load, one.Way)).Select(group => new BatchingFigures(
                group.Key.Way, group.Key.Load, Median(group.Select(one => one.P50)), Median(group.Select(one => one.P95)),
                Median(group.Select(one => one.Throughput)))),
        ];
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();

    private int WidthOf(string way) =>
        way == Continuous ? options.Slots : int.Parse(way.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);

    private static IEnumerable<string> Ways() => [Continuous, .. s_wholes.Select(size => $"whole {size}")];

    // Seconds at which each request's picture is there, on the clock of the work done.
    private async Task<double[]> ServeAsync(string way, int width, Arrival[] arrivals, byte[] caption)
    {
        var batcher = new StepBatcher<IDenoising>(width);
        var places = new Dictionary<IDenoising, int>(ReferenceEqualityComparer.Instance);
        var ends = new double[arrivals.Length];
        (double now, int next, int done) = (0, 0, 0);
        while (done < arrivals.Length)
        {
            bool admits = way == Continuous || places.Count == 0;
            while (admits && next < arrivals.Length && arrivals[next].Time <= now && batcher.Free > 0)
            {
                now += await TimeAsync(async () =>
                {
                    IDenoising picture = await _device.BeginAsync(
                        SpecOf(next, arrivals[next].Steps, arrivals[next].Guidance), caption, null, CancellationToken.None);
                    batcher.TryJoin(picture);
                    places.Add(picture, next);
                });
                next++;
            }

            IReadOnlyList<IDenoising> batch = batcher.Next();
            if (batch.Count == 0)
            {
                now = arrivals[next].Time;
                continue;
            }

            now += await TimeAsync(() => ((IBatchEvaluator<IDenoising>)_device).EvaluateAsync(batch, CancellationToken.None));
            foreach (IDenoising picture in places.Keys.Where(picture => picture.IsDone).ToArray())
            {
                int place = places[picture];
                now += await TimeAsync(() => _device.DecodeAsync(
                    SpecOf(place, arrivals[place].Steps, arrivals[place].Guidance), picture.Latent(), CancellationToken.None));
                ends[place] = now;
                places.Remove(picture);
                batcher.Drop(picture);
                picture.Dispose();
                done++;
            }
        }

        return ends;
    }

    private static async Task<double> TimeAsync(Func<Task> work)
    {
        long begin = Stopwatch.GetTimestamp();
        await work();
        return Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    // Poisson arrivals at a part of the capacity; steps uniform in 8 to 50; half of the requests guided.
    private Arrival[] Arrivals(int run, double load, double capacity)
    {
        var numbers = new float[3 * requests];
        SeededNoise.Uniform((ulong)run, NoisePurpose.InitialWeights, 0, numbers);
        var arrivals = new Arrival[requests];
        double time = 0;
        for (int i = 0; i < requests; i++)
        {
            time += load == 0 ? 0 : -Math.Log(1 - numbers[3 * i]) / (load * capacity);
            double guidance = numbers[(3 * i) + 2] < 0.5 ? 1 : Math.Max(1.5, model.Card.Guidance);
            arrivals[i] = new Arrival(time, 8 + (int)(43 * numbers[(3 * i) + 1]), guidance);
        }

        return arrivals;
    }

    private GenerationSpec SpecOf(int request, int steps, double guidance = 1) => new()
    {
        Model = model.Card.Digest, Prompt = "a red star above a blue house", Seed = (ulong)request, Steps = Math.Max(2, steps),
        Guidance = guidance, Width = model.Card.Sizes[0].Width, Height = model.Card.Sizes[0].Height,
    };

    private static BatchingFigures Figures(string way, double load, Arrival[] arrivals, double[] ends)
    {
        double[] latencies = [.. ends.Select((end, i) => end - arrivals[i].Time).Order()];
        return new BatchingFigures(
            way, load, latencies[latencies.Length / 2], latencies[(int)(0.95 * (latencies.Length - 1))],
            arrivals.Length / (ends.Max() - arrivals[0].Time));
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }

    private readonly record struct Arrival(double Time, int Steps, double Guidance);
}
