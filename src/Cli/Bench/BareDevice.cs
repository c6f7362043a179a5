// A device without a cluster. It only draws pictures, denoised in batches, with the same batcher and device lane that a
// worker uses. The benches use it as their baseline, and to try other ways of forming batches than the cluster's.
using System.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Grains.Batching;
using Atelier.Grains.Ports;
using Atelier.Silo.Devices;

namespace Atelier.Cli.Bench;

/// <summary>A request that arrives while a device serves.</summary>
/// <param name="Time">Time of arrival, in seconds.</param>
/// <param name="Spec">The requested picture.</param>
internal sealed record BareRequest(double Time, GenerationSpec Spec);

/// <summary>A picture that a device has drawn.</summary>
/// <param name="Time">Time at which it was finished, in seconds.</param>
/// <param name="Png">The picture as a PNG file.</param>
internal sealed record BarePicture(double Time, byte[] Png);

/// <summary>One device with one model. Not safe for concurrent use.</summary>
internal sealed class BareDevice : IDisposable
{
    private readonly DeviceModel _model;
    private readonly TorchDeviceOptions _options;
    private readonly DeviceLane _lane;
    private readonly TorchDeviceHost _device;

    /// <summary>Opens the device. The model is not loaded yet.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Settings of the device.</param>
    public BareDevice(DeviceModel model, TorchDeviceOptions options)
    {
        (_model, _options) = (model, options);
        _lane = DeviceLane.Of(options, TimeProvider.System);
        _device = new TorchDeviceHost([model], options, _lane);
    }

    /// <summary>Loads the model.</summary>
    public Task LoadAsync() => _device.LoadAsync(_model.Card.Digest, CancellationToken.None);

    /// <summary>
    /// Serves requests in the order of their arrival. Times are those of a clock that counts only the device's work and
    /// skips idle time, so that two serving policies see the same load however busy the machine is in between.
    /// </summary>
    /// <param name="requests">Requests by time of arrival.</param>
    /// <param name="width">Maximum number of pictures in one evaluation.</param>
    /// <param name="joining">
    /// Whether a picture may join a batch that has already begun; otherwise it waits until that batch has finished.
    /// </param>
    /// <param name="cancellation">Stops serving.</param>
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
