// The shards of a run: their samples, and the random numbers of each sample.
using System.Globalization;
using Atelier.Model.Networks;
using Atelier.Model.Randomness;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training;

/// <summary>Captioned latents as training data.</summary>
public interface ITrainingData
{
    /// <summary>Number of samples.</summary>
    int Count { get; }

    /// <summary>How often the samples occur in an epoch; once each by default.</summary>
    StreamMix Mix => StreamMix.Plain(Count);

    /// <summary>Digest of the files that list the samples, in order; empty if there are none.</summary>
    string Digest => "";

    /// <summary>Shape of a latent, (C, H, W).</summary>
    (int Channels, int Height, int Width) LatentShape { get; }

    /// <summary>Shape of a caption's features, (L, channels).</summary>
    (int Length, int Channels) CaptionShape { get; }

    /// <summary>Names of the columns of latents and caption features, for messages.</summary>
    (string Latents, string Captions) Columns => ("latents", "caption_latents");

    /// <summary>Location of a sample, for messages; by default only its index.</summary>
    /// <param name="sample">Index of the sample, from 0.</param>
    string Place(int sample) => $"sample {sample.ToString(CultureInfo.InvariantCulture)}";

    /// <summary>Informs about the samples that will be read next, in order, so that they can be fetched.</summary>
    void Foresee(IEnumerable<int> samples)
    {
    }

    /// <summary>Reads one sample as it is stored; the caller checks that its numbers are finite.</summary>
    /// <param name="sample">Index of the sample, from 0.</param>
    /// <param name="latent">Receives C * H * W numbers, already multiplied by the autoencoder's scaling factor.</param>
    /// <param name="caption">Receives L * channels numbers.</param>
    void Read(int sample, Span<float> latent, Span<float> caption);
}

/// <summary>
/// Draws a shard's samples and random numbers. Each number is a function of the run's seed and the sample's position in
/// the run, independent of workers, shards and microbatches. A sample that holds NaN or infinity is left out of every
/// batch, even if its caption would be dropped; the other samples keep their random numbers.
/// </summary>
public sealed class SeededShards : IShardSource
{
    private readonly ITrainingData _data;
    private readonly TrainingSettings _settings;
    private readonly MicroDiTConfig _network;
    private readonly SampleOrder _order;
    private readonly ulong _seed;
    private readonly double _captionDrop;
    private long _foreseenFrom = -1;

    /// <summary>Prepares the shards of a run.</summary>
    /// <param name="data">The samples.</param>
    /// <param name="settings">Batch, noise levels and mask.</param>
    /// <param name="network">The network that is trained; latents and captions must fit it.</param>
    /// <param name="seed">Seed of the run; 0 is a seed like any other.</param>
    /// <param name="captionDrop">
    /// Fraction of the captions that are replaced by zeros, which classifier-free guidance needs.
    /// </param>
    /// <param name="orderVersion">Version of the sample order.</param>
    /// <exception cref="ArgumentException">The shapes of the data do not match the network.</exception>
    public SeededShards(
        ITrainingData data, TrainingSettings settings, MicroDiTConfig network, ulong seed, double captionDrop,
        int orderVersion = SampleOrder.Version)
    {
        (int channels, int height, int width) = data.LatentShape;
        if (channels != network.InChannels || height != network.InputSize || width != network.InputSize)
        {
            throw new ArgumentException(
                $"The data holds latents of {channels} x {height} x {width}; the network takes "
                + $"{network.InChannels} x {network.InputSize} x {network.InputSize}.", nameof(data));
        }

        if (data.CaptionShape.Channels != network.CaptionChannels)
        {
            throw new ArgumentException(
                $"The data holds captions of {data.CaptionShape.Channels} features; the network takes "
                + $"{network.CaptionChannels}.",
                nameof(data));
        }

        if (!(captionDrop >= 0 && captionDrop < 1))
        {
            throw new ArgumentOutOfRangeException(
                nameof(captionDrop), captionDrop, "The fraction of dropped captions must be in [0, 1).");
        }

        (_data, _settings, _network, _seed, _captionDrop) = (data, settings, network, seed, captionDrop);
        _order = Order(seed, data.Mix, orderVersion);
    }

    /// <summary>
    /// The order of a run's samples: each epoch's permutation depends only on (version, seed, epoch).
    /// </summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="count">Number of samples in an epoch.</param>
    /// <param name="version">Version of the order.</param>
    /// <exception cref="ArgumentException">There are no samples, or there is no such version.</exception>
    public static SampleOrder Order(ulong seed, int count, int version = SampleOrder.Version) =>
        Order(seed, StreamMix.Plain(count), version);

    private static SampleOrder Order(ulong seed, StreamMix mix, int version)
    {
        Func<long, int[]> permutation = version switch
        {
            SampleOrder.UniformVersion => epoch =>
                SeededNoise.Permutation(seed, NoisePurpose.SampleOrder, epoch, mix.Count),
            SampleOrder.Version => epoch => BlockOrder.Epoch(seed, epoch, mix.Count),
            _ => throw new ArgumentOutOfRangeException(nameof(version), version, "There is no such sample order."),
        };
        return new SampleOrder(mix.Count, mix.IsPlain ? permutation : epoch =>
        {
            int[] samples = mix.Epoch(seed, epoch);
            return [.. permutation(epoch).Select(place => samples[place])];
        });
    }

    /// <inheritdoc/>
    public ShardBatch Read(long step, int shard) => Draw(step, shard)();

    /// <summary>
    /// Reads a shard's samples and draws its random numbers, without tensors; the result makes the tensors of
    /// <see cref="Read"/>, on the thread that calls it.
    /// </summary>
    public Func<ShardBatch> Draw(long step, int shard)
    {
        int batch = _settings.Microbatch;
        long first = _settings.Slices.First(step, shard);
        if (step != _foreseenFrom)
        {
            _foreseenFrom = step;
            _data.Foresee(Ahead(_settings.Slices.First(step, 0)));
        }

        (int channels, int height, int width) = _data.LatentShape;
        (int length, int features) = _data.CaptionShape;
        int latentLength = channels * height * width, captionLength = length * features;
        var (latents, noise) = (new float[batch * latentLength], new float[batch * latentLength]);
        var captions = new float[batch * captionLength];
        var maskNoise = new float[batch * _network.Tokens];
        var levels = new double[batch];
        var samples = new List<int>(batch);
        var leftOut = new List<BadSample>();
        Span<float> draw = stackalloc float[1];
        for (int place = 0; place < batch; place++)
        {
            long position = first + place;
            int i = samples.Count, sample = _order[position];
            Span<float> latent = latents.AsSpan(i * latentLength, latentLength),
                caption = captions.AsSpan(i * captionLength, captionLength);
            _data.Read(sample, latent, caption);
            if (Fault(sample, latent, caption) is { } fault)
            {
                leftOut.Add(fault);
                continue; // The next sample takes its row.
            }

            samples.Add(sample);
            SeededNoise.Uniform(_seed, NoisePurpose.CaptionDrop, position, draw);
            if (draw[0] < _captionDrop)
            {
                caption.Clear();
            }

            SeededNoise.Normal(_seed, NoisePurpose.NoiseLevel, position, draw);
            levels[i] = _settings.Edm.NoiseLevel(draw[0]);
            SeededNoise.Normal(
                _seed, NoisePurpose.TrainingNoise, position, noise.AsSpan(i * latentLength, latentLength));
            SeededNoise.Uniform(
                _seed, NoisePurpose.PatchMask, position, maskNoise.AsSpan(i * _network.Tokens, _network.Tokens));
        }

        int rows = samples.Count;
        return () => new ShardBatch(
            tensor(Used(latents), [rows, channels, height, width]), tensor(Used(captions), [rows, length, features]),
            Used(levels), tensor(Used(noise), [rows, channels, height, width]),
            _settings.MaskRatio == 0 || rows == 0
                ? null : PatchMask.FromNoise(Used(maskNoise), rows, _settings.MaskRatio))
        {
            Samples = samples, LeftOut = leftOut,
        };

        T[] Used<T>(T[] values) => rows == batch ? values : values[..(values.Length / batch * rows)];
    }

    // The window of the order and the next one, at least.
    private IEnumerable<int> Ahead(long first)
    {
        int count = Math.Max(2 * BlockOrder.WindowSamples(_data.Mix.Count), _settings.GlobalBatch);
        for (long position = first; position < first + count; position++)
        {
            yield return _order[position];
        }
    }

    private BadSample? Fault(int sample, ReadOnlySpan<float> latent, ReadOnlySpan<float> caption) =>
        Finite.IndexOfFault(latent) is >= 0 and var inLatent
            ? new BadSample(sample, _data.Columns.Latents, Finite.Name(latent[inLatent]))
        : Finite.IndexOfFault(caption) is >= 0 and var inCaption
            ? new BadSample(sample, _data.Columns.Captions, Finite.Name(caption[inCaption]))
        : null;
}
