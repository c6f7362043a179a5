// The overhead of gateway and grains. A cluster and a bare device in this process draw the same pictures in turns, both
// under full load. The pictures' bytes are compared, to make sure that both did the same work.
using System.Diagnostics;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;
using Atelier.Contracts.Generations;
using Atelier.Silo.Devices;

namespace Atelier.Cli.Bench;

/// <summary>The throughputs of one turn.</summary>
/// <param name="Bare">Pictures per second of the bare device.</param>
/// <param name="Cluster">
/// Pictures per second of the cluster, from the first request to the last picture fetched.
/// </param>
internal sealed record OverheadTurn(double Bare, double Cluster)
{
    /// <summary>The cluster's throughput as a fraction of the bare device's.</summary>
    public double Ratio => Cluster / Bare;
}

/// <summary>The throughputs of all turns.</summary>
internal sealed record OverheadFigures(IReadOnlyList<OverheadTurn> Turns)
{
    /// <summary>The median of the turns' ratios.</summary>
    public double Ratio => Turns.Select(turn => turn.Ratio).Order().ElementAt(Turns.Count / 2);
}

/// <summary>Compares a cluster that has one device with a bare device of the same settings.</summary>
internal sealed class OverheadBench(DeviceModel model, TorchDeviceOptions options, ClusterClient cluster, int pictures)
    : IDisposable
{
    private readonly BareDevice _device = new(model, options);

    /// <summary>
    /// Runs <paramref name="turns"/> turns after one that is not counted. In each turn, both draw the pictures once.
    /// </summary>
    /// <exception cref="UserErrorException">The cluster fails, or its pictures differ from the device's.</exception>
    public async Task<OverheadFigures> RunAsync(int turns, Action<string> remark, CancellationToken cancellation)
    {
        await _device.LoadAsync();
        var figures = new List<OverheadTurn>();
        for (int turn = 0; turn <= turns; turn++)
        {
            ulong seed = (ulong)turn * (ulong)pictures;
            (BarePicture[] own, byte[][] theirs, double bare, double there) = ([], [], 0, 0);

            // They alternate in going first, so that a machine that slows down favors neither.
            foreach (bool here in turn % 2 == 0 ? new[] { true, false } : [false, true])
            {
                long start = Stopwatch.GetTimestamp();
                if (here)
                {
                    own = await DrawHereAsync(seed, cancellation);
                    bare = pictures / Stopwatch.GetElapsedTime(start).TotalSeconds;
                }
                else
                {
                    theirs = await DrawThereAsync(seed, cancellation);
                    there = pictures / Stopwatch.GetElapsedTime(start).TotalSeconds;
                }
            }

            int differing = Enumerable.Range(0, pictures)
                .Count(i => !theirs[i].AsSpan().SequenceEqual(own[i].Png));
            if (differing > 0)
            {
                throw new UserErrorException(
                    $"{differing} of {pictures} pictures differ between {cluster.Url} and this process, so the two did "
                    + "not do the same work; give the model, --threads and --rows of the cluster's device.");
            }

            var one = new OverheadTurn(bare, there);
            remark(
                FormattableString.Invariant(
                    $"turn {turn} of {turns}: {bare:f3} pictures/s alone, {there:f3} in the cluster, {one.Ratio:p1}"));
            if (turn > 0)
            {
                figures.Add(one);
            }
        }

        return new OverheadFigures(figures);
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();

    private Task<BarePicture[]> DrawHereAsync(ulong seed, CancellationToken cancellation) => _device.ServeAsync(
        [.. Enumerable.Range(0, pictures).Select(i => new BareRequest(0, Spec(seed + (ulong)i)))], options.Slots,
        joining: true, cancellation);

    private async Task<byte[][]> DrawThereAsync(ulong seed, CancellationToken cancellation)
    {
        return await Task.WhenAll(Enumerable.Range(0, pictures).Select(async i =>
        {
            GenerationSpec spec = Spec(seed + (ulong)i);
            var body = new JsonObject
            {
                ["model"] = model.Card.Name, ["prompt"] = spec.Prompt, ["seed"] = spec.Seed, ["steps"] = spec.Steps,
                ["guidance"] = spec.Guidance,
                ["response_format"] = "b64_json",
            };
            JsonNode? answer = await cluster.CallAsync(HttpMethod.Post, "/v1/images/generations", body, cancellation);
            return Convert.FromBase64String(answer!["data"]![0]!["b64_json"]!.GetValue<string>());
        }));
    }

    private GenerationSpec Spec(ulong seed) => new()
    {
        Model = model.Card.Digest, Prompt = "a red star above a blue house", Seed = seed, Steps = model.Card.Steps,
        Guidance = model.Card.Guidance, Width = model.Card.Sizes[0].Width, Height = model.Card.Sizes[0].Height,
    };
}
