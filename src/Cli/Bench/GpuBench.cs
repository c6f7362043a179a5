// The speed of the whole network on a GPU: of the denoiser by batch size, and of forward passes and training steps at
// the shapes of the four training stages. Plain bfloat16 matrix products are measured in the same run for comparison.
// On a CPU the loads are tiny and only test that the bench runs.
using System.Diagnostics;
using System.Runtime.InteropServices;
using Atelier.Cli.Verify;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Runtime;
using Atelier.Model.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Cli.Bench;

/// <summary>
/// Speed of the denoiser at one batch size. All pictures use guidance, and latents are copied from and to host memory.
/// </summary>
/// <param name="Batch">Pictures sampled together. Because of guidance, a pass has twice as many rows.</param>
/// <param name="Evaluation">One evaluation of the whole batch.</param>
/// <param name="Captions">
/// Seconds in which the denoiser prepares the caption features of the whole batch. It does so once per picture, not
/// once per evaluation.
/// </param>
/// <param name="Evaluations">Number of evaluations per picture.</param>
public sealed record DenoiserSpeed(int Batch, Timing Evaluation, double Captions, int Evaluations)
{
    /// <summary>Pictures per second, without the text encoder and the autoencoder.</summary>
    public double PicturesPerSecond => Batch / (Captions + (Evaluations * Evaluation.Seconds));
}

/// <summary>Speed at the shapes of a training stage.</summary>
/// <param name="Stage">Description of the stage.</param>
/// <param name="Latent">Side length of the latents.</param>
/// <param name="Kept">Number of patches that the backbone processes.</param>
/// <param name="Batch">Number of samples.</param>
/// <param name="Forward">The captions and one evaluation, without gradients.</param>
/// <param name="TrainStep">
/// A training step: forward and backward pass, clipping and optimizer, counted as 3 times the operations of the forward
/// pass. Null if it does not fit into memory.
/// </param>
public sealed record StageSpeed(string Stage, int Latent, int Kept, int Batch, Timing Forward, Timing? TrainStep);

/// <summary>The network's dimensions, from which another program can build a network of the same shapes.</summary>
/// <param name="Dim">Features of the backbone.</param>
/// <param name="HeadDim">Features per attention head.</param>
/// <param name="PatchValues">Values per patch.</param>
/// <param name="CaptionChannels">Features per caption token.</param>
/// <param name="CaptionLength">Tokens per caption.</param>
/// <param name="CaptionHidden">Hidden features of the caption block.</param>
/// <param name="Experts">Experts per layer.</param>
/// <param name="Capacity">Average number of experts that process a token.</param>
/// <param name="Mixer">Blocks before masking.</param>
/// <param name="Backbone">Blocks after masking.</param>
public sealed record NetworkWidths(
    int Dim, int HeadDim, int PatchValues, int CaptionChannels, int CaptionLength, int CaptionHidden, int Experts,
    double Capacity, IReadOnlyList<BlockShape> Mixer, IReadOnlyList<BlockShape> Backbone);

/// <summary>All figures of <c>bench gpu</c>.</summary>
/// <param name="Device">Kind of device.</param>
/// <param name="Precision">Precision in which the network computes; bfloat16 on a GPU.</param>
/// <param name="Preset">The network's preset.</param>
/// <param name="Matmul">Plain matrix products.</param>
/// <param name="DenoiserLatent">Side length of the denoiser's latents.</param>
/// <param name="Denoiser">The denoiser by batch size.</param>
/// <param name="Stages">The four stages.</param>
/// <param name="Widths">The network's dimensions.</param>
public sealed record GpuFigures(
    string Device, string Precision, string Preset, IReadOnlyList<MatmulTiming> Matmul, int DenoiserLatent,
    IReadOnlyList<DenoiserSpeed> Denoiser, IReadOnlyList<StageSpeed> Stages, NetworkWidths Widths)
{
    /// <summary>Best rate of the plain matrix products, in operations per second.</summary>
    public double MatmulBest => Matmul.Max(m => m.Flops / m.Seconds);
}

/// <summary>Runs the measurements of <c>bench gpu</c>.</summary>
public sealed class GpuBench
{
    /// <summary>Steps per picture. Each step takes two evaluations, except the last, which takes one.</summary>
    public const int Steps = 18;

    private const int CaptionLength = 77;
    private const double Masked = 0.75;
    private const double Guidance = 5;

    // The batches are small enough for 80 GB of memory without recomputing activations.
    private static readonly (string Name, int Latent, double Mask, int Batch)[] s_stages =
    [
        ("256 px, 75 % masked", 32, Masked, 64), ("256 px", 32, 0, 32),
        ("512 px, 75 % masked", 64, Masked, 16), ("512 px", 64, 0, 8),
    ];

    private readonly Device _device;
    private readonly string _preset;
    private readonly bool _isGpu;
    private readonly Action<double> _progress;
    private int _done;

    // In bfloat16, even the tiny loads of `--device cpu` would take minutes on a processor without bfloat16
    // instructions.
    private readonly ScalarType _precision;

    private GpuBench(string preset, Device device, Action<double> progress)
    {
        _precision = device.type == DeviceType.CPU ? Libtorch.FastPrecision : ScalarType.BFloat16;
        (_preset, _device, _progress) = (preset, device, progress);
        _isGpu = device.type == DeviceType.CUDA;
    }

    private int[] MatmulSizes => _isGpu ? [4096, 8192, 16384] : [256, 512];

    private int[] Batches => _isGpu ? [1, 2, 4, 8, 16] : [1, 2];

    /// <summary>Why libtorch cannot use a GPU here, as a sentence; null if it can.</summary>
    public static string? WhyNoGpu() =>
        !NativeLibrary.TryLoad("libcuda.so.1", out _)
            ? "This machine has no NVIDIA GPU, or the GPU's driver is not installed. To check only that the "
                + "benchmark runs, use --device cpu."
            : !cuda.is_available()
                ? "The NVIDIA driver is installed, but libtorch cannot use a GPU: build with ATELIER_BACKEND=cuda, or "
                    + "set ATELIER_LIBTORCH to the folder of a CUDA libtorch."
                : null;

    /// <summary>Measures everything.</summary>
    /// <param name="preset">The network's preset.</param>
    /// <param name="device">The device to measure on.</param>
    /// <param name="progress">Receives the finished fraction of the measurements.</param>
    public static GpuFigures Measure(string preset, Device device, Action<double> progress) =>
        new GpuBench(preset, device, progress).Measure();

    private GpuFigures Measure()
    {
        _progress(0);
        MatmulTiming[] matmul = [.. MatmulSizes.Select(Matmul)];
        var denoiser = new List<DenoiserSpeed>();
        var stages = new List<StageSpeed>();
        NetworkWidths? widths = null;
        foreach (var group in s_stages.GroupBy(stage => _isGpu ? stage.Latent : stage.Latent / 4))
        {
            bool isLarge = stages.Count > 0;
            using var network = new MicroDiT(
                MicroDiTConfig.Preset(_preset, group.Key, posInterpScale: isLarge ? 2 : 1));
            FormulaWeights.Fill(network, "");
            widths ??= Widths(network);
            network.to(_device);
            network.to(_precision);
            Timing[] forward = [.. group.Select(stage => Forward(network, stage.Mask, _isGpu ? stage.Batch : 1))];
            if (isLarge)
            {
                denoiser.AddRange(Batches.Select(batch => Denoise(network, batch)));
            }

            foreach (((string name, int _, double mask, int batch), Timing speed) in group.Zip(forward))
            {
                int samples = _isGpu ? batch : 1;
                stages.Add(new StageSpeed(
                    name, group.Key, PatchMask.KeptOf(network.Config.Tokens, mask), samples, speed,
                    TrainStep(network, mask, samples, 3 * speed.Flops)));
            }
        }

        return new GpuFigures(
            _device.type.ToString().ToLowerInvariant(), _precision.ToString().ToLowerInvariant(), _preset, matmul,
            stages[^1].Latent,
            denoiser, stages, widths!);
    }

    private static NetworkWidths Widths(MicroDiT network)
    {
        MicroDiTConfig config = network.Config;
        int captionHidden = (int)network.state_dict()["y_emb_preprocess.mlp.w1.weight"].shape[0];
        return new NetworkWidths(
            config.Dim, config.HeadDim, config.PatchValues, config.CaptionChannels, CaptionLength, captionHidden,
            config.NumExperts, config.ExpertCapacity, config.MixerBlocks(), config.BackboneBlocks());
    }

    private MatmulTiming Matmul(int size)
    {
        using var scope = NewDisposeScope();
        Tensor a = Random(size, size).to(_precision), b = Random(size, size).to(_precision);
        double seconds = Best(() => { using Tensor product = a.mm(b); });
        return new MatmulTiming(size, 2.0 * size * size * size, seconds);
    }

    private Timing Forward(MicroDiT network, double mask, int batch)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        MicroDiTConfig config = network.Config;
        Tensor x = Random(batch, config.InChannels, config.InputSize, config.InputSize).to(_precision);
        Tensor t = Random(batch).to(_precision);
        Tensor captions = Random(batch, CaptionLength, config.CaptionChannels);
        PatchMask? patches = mask == 0 ? null : Mask(config, mask, batch).To(_device);
        double seconds = Best(() =>
        {
            using CaptionContext context = network.Caption(captions);
            using Tensor answer = network.Predict(x, t, context, patches);
        });
        return new Timing(batch * Flops(config, mask), seconds);
    }

    private DenoiserSpeed Denoise(MicroDiT network, int batch)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        MicroDiTConfig config = network.Config;
        using var denoiser = new Denoiser(network, new Edm(), 2 * batch);
        Tensor text = Random(1, CaptionLength, config.CaptionChannels);
        using CaptionContext prompt = network.Caption(text), negative = network.Caption(zeros_like(text));
        double captions = Best(() => network.Caption(text).Dispose());
        using Tensor noise = randn(denoiser.LatentLength, dtype: ScalarType.Float64);
        DenoiserRequest[] requests =
        [
            .. Enumerable.Range(0, batch).Select(_ => new DenoiserRequest(
                new Evaluation(noise.data<double>().ToArray(), Sigma: 1, Guidance), prompt, negative)),
        ];
        double seconds = Best(() => denoiser.Evaluate(requests));
        double flops = 2 * batch * new MicroDiTCost(config).Evaluation(CaptionLength);
        return new DenoiserSpeed(batch, new Timing(flops, seconds), batch * captions, (2 * Steps) - 1);
    }

    private Timing? TrainStep(MicroDiT network, double mask, int batch, double flops)
    {
        network.to(ScalarType.Float32); // The engine needs float32 weights: it makes a bfloat16 copy of its own.
        var settings = new TrainingSettings { Microbatch = batch, ClipNorm = 0.25, MaskRatio = mask };
        try
        {
            var source = new MaskedShard(network.Config, this, mask, batch);
            using var engine = new TrainingEngine(network, settings, source, _precision);
            long step = 0;
            return new Timing(flops, Best(() => engine.Apply(step, engine.ComputeBatch(step++))));
        }
        catch (ExternalException error)
            when (error.Message.Contains("out of memory", StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }
    }

    private static double Flops(MicroDiTConfig config, double mask)
    {
        var cost = new MicroDiTCost(config);
        return cost.Caption(CaptionLength) + cost.Evaluation(CaptionLength, mask);
    }

    private static PatchMask Mask(MicroDiTConfig config, double ratio, int batch)
    {
        using Tensor noise = rand(batch * config.Tokens);
        return PatchMask.FromNoise(noise.data<float>().ToArray(), batch, ratio);
    }

    private Tensor Random(params long[] shape) => randn(shape, device: _device);

    // The best time after a warm-up. On a GPU the work runs at least three times, and repeatedly for two seconds; on a
    // CPU it runs once.
    private double Best(Action work)
    {
        Time();
        double best = double.PositiveInfinity, all = 0;
        for (int turn = 0; turn == 0 || (_isGpu && (turn < 3 || all < 2)); turn++)
        {
            double seconds = Time();
            (best, all) = (Math.Min(best, seconds), all + seconds);
        }

        _progress((double)++_done / (MatmulSizes.Length + (2 * s_stages.Length) + (2 * Batches.Length)));
        return best;

        double Time()
        {
            Synchronize();
            long start = Stopwatch.GetTimestamp();
            work();
            Synchronize();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
    }

    private void Synchronize()
    {
        if (_isGpu)
        {
            cuda.synchronize();
        }
    }

    // Samples are created on the device, with one mask for all steps, because data loading is not measured here.
    private sealed class MaskedShard(MicroDiTConfig config, GpuBench bench, double ratio, int batch) : IShardSource
    {
        private readonly PatchMask? _mask = ratio == 0 ? null : Mask(config, ratio, batch).To(bench._device);

        public ShardBatch Read(long step, int shard)
        {
            long[] shape = [batch, config.InChannels, config.InputSize, config.InputSize];
            return new ShardBatch(
                bench.Random(shape), bench.Random(batch, CaptionLength, config.CaptionChannels),
                [.. Enumerable.Repeat(1.0, batch)], bench.Random(shape),
                _mask is null ? null : new PatchMask(_mask.Keep.clone(), _mask.Restore.clone(), _mask.Masked.clone()));
        }
    }
}
