// Continuous batching compared with two simpler policies: batches of whole requests in the order of arrival, and one
// request at a time. The network really runs, and its work is timed.
using Atelier.Contracts.Generations;
using Atelier.Model.Randomness;
using Atelier.Silo.Devices;

namespace Atelier.Cli.Bench;

/// <summary>The results of one serving policy in one run.</summary>
/// <param name="Way">
/// The policy: "continuous", or "whole N" for batches of N whole requests; "whole 1" is one request at a time.
/// </param>
/// <param name="Load">
/// Rate of arrivals as a fraction of the device's capacity; 0 if all requests arrive at once.
/// </param>
/// <param name="P50">Median time from arrival to picture, in seconds.</param>
/// <param name="P95">95th percentile of the time from arrival to picture, in seconds.</param>
/// <param name="Throughput">Pictures per second, from the first arrival to the last picture.</param>
internal sealed record BatchingFigures(string Way, double Load, double P50, double P95, double Throughput);

/// <summary>Serves the same requests under each policy.</summary>
internal sealed class BatchingBench(DeviceModel model, TorchDeviceOptions options, int requests) : IDisposable
{
    private const string Continuous = "continuous";
    private static readonly int[] s_wholes = [1, 2, 4, 8];

    private readonly BareDevice _device = new(model, options);

    /// <summary>
    /// Runs all policies in turn, <paramref name="runs"/> times, with different arrivals in each run.
    /// </summary>
    /// <returns>The medians over the runs.</returns>
    public async Task<IReadOnlyList<BatchingFigures>> RunAsync(
        int runs, Action<double> progress, CancellationToken cancellation)
    {
        await _device.LoadAsync();
        await ServeAsync(Continuous, 0, [.. Arrivals(0, 0, 1).Take(4)], cancellation);
        var figures = new List<BatchingFigures>();
        for (int run = 0; run < runs; run++)
        {
            BareRequest[] atOnce = Arrivals(run, 0, 1);
            var saturated = new List<BatchingFigures>();
            foreach (string way in Ways(run))
            {
                saturated.Add(await ServeAsync(way, 0, atOnce, cancellation));
            }

            figures.AddRange(saturated);
            double capacity = saturated.Max(one => one.Throughput);
            foreach (double load in new[] { 0.7, 0.9 })
            {
                BareRequest[] arrivals = Arrivals(run, load, capacity);
                foreach (string way in Ways(run))
                {
                    figures.Add(await ServeAsync(way, load, arrivals, cancellation));
                }
            }

            progress((run + 1.0) / runs);
        }

        return
        [
            .. figures.GroupBy(one => (one.Load, one.Way)).Select(group => new BatchingFigures(
                group.Key.Way, group.Key.Load, Median(group.Select(one => one.P50)),
                Median(group.Select(one => one.P95)),
                Median(group.Select(one => one.Throughput)))),
        ];
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();

    private int WidthOf(string way) =>
        way == Continuous
            ? options.Slots
            : int.Parse(way.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);

    // Each run begins with a different policy, so that the same one does not always run in a cold process.
    private static IEnumerable<string> Ways(int run)
    {
        string[] ways = [Continuous, .. s_wholes.Select(size => $"whole {size}")];
        return ways.Select((_, i) => ways[(i + run) % ways.Length]);
    }

    private async Task<BatchingFigures> ServeAsync(
        string way, double load, BareRequest[] requests, CancellationToken cancellation)
    {
        BarePicture[] pictures = await _device.ServeAsync(
            requests, WidthOf(way), joining: way == Continuous, cancellation);
        double[] latencies = [.. pictures.Select((picture, i) => picture.Time - requests[i].Time).Order()];
        return new BatchingFigures(
            way, load, latencies[latencies.Length / 2], latencies[(int)(0.95 * (latencies.Length - 1))],
            requests.Length / (pictures.Max(picture => picture.Time) - requests[0].Time));
    }

    // Poisson arrivals at a fraction of the capacity. Steps are uniform from 8 to 50; half of the requests use
    // guidance.
    private BareRequest[] Arrivals(int run, double load, double capacity)
    {
        var numbers = new float[3 * requests];
        SeededNoise.Uniform((ulong)run, NoisePurpose.InitialWeights, 0, numbers);
        var arrivals = new BareRequest[requests];
        double time = 0;
        for (int i = 0; i < requests; i++)
        {
            time += load == 0 ? 0 : -Math.Log(1 - numbers[3 * i]) / (load * capacity);
            arrivals[i] = new BareRequest(time, new GenerationSpec
            {
                Model = model.Card.Digest, Prompt = "a red star above a blue house", Seed = (ulong)i,
                Steps = 8 + (int)(43 * numbers[(3 * i) + 1]),
                Guidance = numbers[(3 * i) + 2] < 0.5 ? 1 : Math.Max(1.5, model.Card.Guidance),
                Width = model.Card.Sizes[0].Width, Height = model.Card.Sizes[0].Height,
            });
        }

        return arrivals;
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }
}
