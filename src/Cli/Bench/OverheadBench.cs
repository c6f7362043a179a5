// What gateway and grains cost: a cluster that draws the same pictures as a device of its own here, in turns, both with
// as much to do as they can. The pictures' bytes are compared, so that both did the same work.
using System.Diagnostics;
using Atelier.Cli.Cluster;
using Atelier.Contracts;
using Atelier.Silo.Devices;

namespace Atelier.Cli.Bench;

/// <summary>One turn.</summary>
/// <param name="Bare">Pictures a second of the device alone.</param>
/// <param name="Cluster">Pictures a second of the cluster, from the first request to the last picture fetched.</param>
internal sealed record OverheadTurn(double Bare, double Cluster)
{
    /// <summary>The cluster's throughput as a part of the device's.</summary>
    public double Ratio => Cluster / Bare;
}

/// <summary>All turns.</summary>
internal sealed record OverheadFigures(IReadOnlyList<OverheadTurn> Turns)
{
    /// <summary>The median of the turns' ratios.</summary>
    public double Ratio => Turns.Select(turn => turn.Ratio).Order().ElementAt(Turns.Count / 2);
}

/// <summary>Compares a cluster of one device with a device that is used like it.</summary>
internal sealed class OverheadBench(DeviceModel model, TorchDeviceOptions options, ClusterClient cluster, int pictures) : IDisposable
{
    private readonly BareDevice _device = new(model, options);

    /// <summary>Runs both in turn, as often as asked, after one turn that is not counted.</summary>
    /// <exception cref="UserErrorException">The cluster fails, or draws other pictures.</exception>
    public async Task<OverheadFigures> RunAsync(int turns, Action<string> remark, CancellationToken cancellation)
    {
        await _device.LoadAsync();
        var figures = new List<OverheadTurn>();
        for (int turn = 0; turn <= turns; turn++)
        {
            ulong seed = (ulong)turn * (ulong)pictures;
            long start = Stopwatch.GetTimestamp();
            BarePicture[] own = await _device.ServeAsync(
                [.. Enumerable.Range(0, pictures).Select(i => new BareRequest(0, Spec(seed + (ulong)i)))], options.Slots, joining: true,
                cancellation);
            double bare = pictures / Stopwatch.GetElapsedTime(start).TotalSeconds;
            start = Stopwatch.GetTimestamp();
            byte[][] theirs = await DrawAsync(seed, cancellation);
            double there = pictures / Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (Array.FindIndex(theirs, (i) => i is null) is >= 0 and var missing)
            {
                throw new UserErrorException($"{cluster.Url} sent no picture for seed {seed + (ulong)missing}.");
            }

            if (Enumerable.Range(0, pictures).Count(i => !theirs[i].AsSpan().SequenceEqual(own[i].Png)) is > 0 and var differing)
            {
                throw new UserErrorException(
                    $"{differing} of {pictures} pictures differ between {cluster.Url} and here, so the two did not do the same work: give "
                    + "the model, --threads and --rows that the cluster's device has.");
            }

            var one = new OverheadTurn(bare, there);
            remark(FormattableString.Invariant($"turn {turn} of {turns}: {bare:f3} alone, {there:f3} in the cluster, {one.Ratio:p1}"));
            if (turn > 0)
            {
                figures.Add(one);
            }
        }

        return new OverheadFigures(figures);
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();

    private async Task<byte[][]> DrawAsync(ulong seed, CancellationToken cancellation)
    {
        var taken = new byte[pictures][];
        GenerationSpec spec = Spec(seed);
        var request = new ClusterRequest
        {
            Prompt = spec.Prompt, Seed = seed, Steps = spec.Steps, Guidance = spec.Guidance,
        };
        await new ClusterDrawing(cluster, TimeProvider.System, (_, _) => { }).RunAsync(
            request, pictures, (index, png) => taken[index] = png, cancellation);
        return taken;
    }

    private GenerationSpec Spec(ulong seed) => new()
    {
        Model = model.Card.Digest, Prompt = "a red star above a blue house", Seed = seed, Steps = model.Card.Steps,
        Guidance = model.Card.Guidance, Width = model.Card.Sizes[0].Width, Height = model.Card.Sizes[0].Height,
    };
}
