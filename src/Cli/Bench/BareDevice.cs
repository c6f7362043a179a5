// A device without a cluster: pictures join it, are denoised together and decoded, and nothing else is done, by the
// batcher and the device's lane that a worker uses. The yardstick of the benches, and the place where they share it out
// in other ways than the cluster does.
using System.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Grains.Batching;
using Atelier.Grains.Ports;
using Atelier.Silo.Devices;

namespace Atelier.Cli.Bench;

/// <summary>A request that arrives while a device serves.</summary>
/// <param name="Time">When it arrives, in seconds.</param>
/// <param name="Spec">What it asks for.</param>
internal sealed record BareRequest(double Time, GenerationSpec Spec);

/// <summary>A picture that a device has drawn.</summary>
/// <param name="Time">When it was there, in seconds.</param>
/// <param name="Png">The file.</param>
internal sealed record BarePicture(double Time, byte[] Png);

/// <summary>One device with one model. Not for use by two threads at once.</summary>
internal sealed class BareDevice : IDisposable
{
    private readonly DeviceModel _model;
    private readonly TorchDeviceOptions _options;
    private readonly DeviceLane _lane;
    private readonly TorchDeviceHost _device;

    /// <summary>Brings up the device.</summary>
    /// <param name="model">Its model.</param>
    /// <param name="options">How it is used.</param>
    public BareDevice(DeviceModel model, TorchDeviceOptions options)
    {
        (_model, _options) = (model, options);
        _lane = DeviceLane.Of(options, TimeProvider.System);
        _device = new TorchDeviceHost([model], options, _lane);
    }

    /// <summary>Loads the model.</summary>
    public Task LoadAsync() => _device.LoadAsync(_model.Card.Digest, CancellationToken.None);

    /// <summary>
    /// Serves requests in the order of their arrival. The clock that they arrive by is the sum of the device's work, so
    /// that two ways of serving see the same load however busy this machine is in between.
    /// </summary>
    /// <param name="requests">Requests by time of arrival.</param>
    /// <param name="width">Pictures that share an evaluation, at most.</param>
    /// <param name="joining">
    /// Whether a picture may join others that have begun; otherwise it waits for all of them to end.
    /// </param>
    /// <param name="cancellation">Ends it.</param>
    public async Task<BarePicture[]> ServeAsync(
        IReadOnlyList<BareRequest> requests, int width, bool joining, CancellationToken cancellation)
    {
        var batcher = new StepBatcher<IDenoising>(width, _options.Rows);
        var places = new Dictionary<IDenoising, int>(ReferenceEqualityComparer.Instance);
        var pictures = new BarePicture[requests.Count];
        (double now, int next, int done) = (0, 0, 0);
        while (done < requests.Count)
        {
            bool admits = joining || places.Count == 0;
            while (admits && next < requests.Count && requests[next].Time <= now && batcher.Free > 0)
            {
                long begin = Stopwatch.GetTimestamp();
                byte[] caption = await _device.EncodeAsync(requests[next].Spec, cancellation);
                IDenoising picture = await _device.BeginAsync(requests[next].Spec, caption, null, cancellation);
                now += Stopwatch.GetElapsedTime(begin).TotalSeconds;
                batcher.TryJoin(picture, "");
                places.Add(picture, next++);
            }

            if (batcher.Count == 0)
            {
                now = requests[next].Time;
                continue;
            }

            long start = Stopwatch.GetTimestamp();
            IReadOnlyList<IDenoising> batch = joining ? batcher.Next() : [.. places.Keys];
            await _device.EvaluateAsync(batch, cancellation);
            now += Stopwatch.GetElapsedTime(start).TotalSeconds;
            foreach (IDenoising picture in batch.Where(picture => picture.IsDone))
            {
                batcher.Drop(picture);
                places.Remove(picture, out int place);
                start = Stopwatch.GetTimestamp();
                byte[] png = await _device.DecodeAsync(requests[place].Spec, picture.Latent(), cancellation);
                now += Stopwatch.GetElapsedTime(start).TotalSeconds;
                pictures[place] = new BarePicture(now, png);
                picture.Dispose();
                done++;
            }
        }

        return pictures;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _device.Dispose();
        _lane.Dispose();
    }
}
