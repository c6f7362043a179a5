// The speed of the bare network. Every figure is the best of several rounds, and is compared with the rate of a plain
// matrix product measured in the same run with the same threads.
using System.Diagnostics;
using Atelier.Model.Networks;
using Atelier.Model.Training;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Cli.Bench;

/// <summary>A number of operations and the time that they took.</summary>
/// <param name="Flops">Floating-point operations.</param>
/// <param name="Seconds">Best time, in seconds.</param>
public sealed record Timing(double Flops, double Seconds)
{
    /// <summary>Operations per second.</summary>
    public double Rate => Flops / Seconds;
}

/// <summary>Time of a square matrix product.</summary>
/// <param name="Size">Side length of the matrices.</param>
/// <param name="Flops">Floating-point operations.</param>
/// <param name="Seconds">Best time, in seconds.</param>
public sealed record MatmulTiming(int Size, double Flops, double Seconds);

/// <summary>Speed of a network.</summary>
/// <param name="Preset">The network's preset.</param>
/// <param name="Batch">Pictures per pass.</param>
/// <param name="Tokens">Tokens of a picture.</param>
/// <param name="Threads">Number of libtorch threads.</param>
/// <param name="Matmul">Plain matrix products.</param>
/// <param name="Forward">One evaluation, captions included.</param>
/// <param name="TrainStep">
/// A training step: forward and backward pass, clipping and optimizer, counted as 3 times the operations of the forward
/// pass.
/// </param>
public sealed record NetworkFigures(
    string Preset, int Batch, int Tokens, int Threads, IReadOnlyList<MatmulTiming> Matmul, Timing Forward,
    Timing TrainStep)
{
    /// <summary>Best rate of the plain matrix products, in operations per second.</summary>
    public double MatmulBest => Matmul.Max(m => m.Flops / m.Seconds);

    /// <summary>The forward pass's rate divided by that of the best matrix product.</summary>
    public double ForwardShare => Forward.Rate / MatmulBest;

    /// <summary>The training step's rate divided by that of the best matrix product.</summary>
    public double TrainShare => TrainStep.Rate / MatmulBest;
}

/// <summary>Times of an expert layer computed in two ways, in seconds.</summary>
/// <param name="Width">Features, D.</param>
/// <param name="Hidden">Hidden features of an expert, F.</param>
/// <param name="Tokens">Tokens of a picture.</param>
/// <param name="Batch">Pictures.</param>
/// <param name="Gather">By gather and scatter, forward only.</param>
/// <param name="OneHot">By products with one-hot matrices, forward only.</param>
/// <param name="GatherTraining">By gather and scatter, forward and backward.</param>
/// <param name="OneHotTraining">By products with one-hot matrices, forward and backward.</param>
public sealed record ExpertFigures(
    int Width, int Hidden, int Tokens, int Batch, double Gather, double OneHot, double GatherTraining,
    double OneHotTraining);

/// <summary>All figures of <c>bench model</c>.</summary>
/// <param name="Network">Figures of the network; null if only expert layers were requested.</param>
/// <param name="Experts">Figures of expert layers by size.</param>
public sealed record ModelFigures(NetworkFigures? Network, IReadOnlyList<ExpertFigures> Experts);

/// <summary>Runs the measurements of <c>bench model</c>.</summary>
public static class ModelBench
{
    /// <summary>Number of sizes of expert layers that can be measured.</summary>
    public const int ExpertSizes = 6;

    private const int CaptionLength = 77;

    private static readonly int[] s_sizes = [1024, 2048, 4096];

    /// <summary>Measures the speed of a preset's network with random weights.</summary>
    public static NetworkFigures Network(string preset, int batch, int latent, int rounds)
    {
        MicroDiTConfig config = MicroDiTConfig.Preset(preset, inputSize: latent);
        MatmulTiming[] matmul = [.. s_sizes.Select(size => Matmul(size, rounds))];
        using var network = new MicroDiT(config);
        MicroDiTInitializer.Initialize(network, seed: 1);
        var cost = new MicroDiTCost(config);
        double flops = batch * (cost.Caption(CaptionLength) + cost.Evaluation(CaptionLength));
        using Tensor x = randn(batch, config.InChannels, latent, latent), t = randn(batch);
        using Tensor captions = randn(batch, CaptionLength, config.CaptionChannels);
        double forward = Best(rounds, () =>
        {
            using var noGradients = inference_mode();
            using CaptionContext context = network.Caption(captions);
            using Tensor answer = network.call(x, t, context);
        });
        return new NetworkFigures(
            preset, batch, config.Tokens, get_num_threads(), matmul, new Timing(flops, forward),
            new Timing(3 * flops, TrainStep(network, x, captions, rounds)));
    }

    /// <summary>
    /// Measures expert layers of the sizes that occur in the two presets: the first <paramref name="sizes"/> of them,
    /// small ones first.
    /// </summary>
    public static IReadOnlyList<ExpertFigures> Experts(int rounds, int sizes = ExpertSizes) =>
    [
        .. new[] { (512, 512, 256, 8), (512, 2048, 256, 8), (768, 3072, 256, 4), (1024, 3840, 64, 8),
            (1024, 3840, 256, 2), (1024, 3840, 1024, 1) }
            .Take(sizes).Select(size => Expert(size.Item1, size.Item2, size.Item3, size.Item4, rounds)),
    ];

    private static MatmulTiming Matmul(int size, int rounds)
    {
        using Tensor a = randn(size, size), b = randn(size, size);
        double seconds = Best(2 * rounds, () => { using Tensor product = a.mm(b); });
        return new MatmulTiming(size, 2.0 * size * size * size, seconds);
    }

    private static double TrainStep(MicroDiT network, Tensor x, Tensor captions, int rounds)
    {
        var settings = new TrainingSettings { Microbatch = (int)x.shape[0], ClipNorm = 0.25 };
        using var engine = new TrainingEngine(network, settings, new RepeatedShard(x, captions));
        long step = 0;
        return Best(rounds, () => engine.Apply(step, engine.ComputeBatch(step++)));
    }

    private static ExpertFigures Expert(int width, int hidden, int tokens, int batch, int rounds)
    {
        using var layer = new ExpertChoiceFeedForward(8, 2, width, hidden);
        using (no_grad())
        {
            foreach (Parameter parameter in layer.parameters())
            {
                parameter.normal_(0, 0.02);
            }
        }

        using Tensor x = randn(batch, tokens, width).requires_grad_();
        Func<Tensor> gather = () => layer.call(x), oneHot = () => OneHotProduct(layer, x);
        (double gatherForward, double oneHotForward) = BestOfPair(rounds, () => Forward(gather), () => Forward(oneHot));
        (double gatherTraining, double oneHotTraining) = BestOfPair(
            rounds, () => Training(gather), () => Training(oneHot));
        return new ExpertFigures(
            width, hidden, tokens, batch, gatherForward, oneHotForward, gatherTraining, oneHotTraining);

        static void Forward(Func<Tensor> run)
        {
            using var noGradients = no_grad();
            using var scope = NewDisposeScope();
            run();
        }

        static void Training(Func<Tensor> run)
        {
            using var scope = NewDisposeScope();
            run().sum().backward();
        }
    }

    // The layer as in the paper's listing: products with one-hot matrices select the rows and put them back.
    private static Tensor OneHotProduct(ExpertChoiceFeedForward layer, Tensor x)
    {
        using var scope = NewDisposeScope();
        Dictionary<string, Parameter> weights = layer.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        ExpertChoice choice = layer.Choose(x);
        Tensor picks = nn.functional.one_hot(choice.Tokens, x.shape[1]).to(ScalarType.Float32);   // [B, E, k, T]
        Tensor taken = einsum("nekt,ntd->nekd", picks, x);                                         // [B, E, k, D]
        Tensor hidden = nn.functional.gelu(einsum("nekd,edf->nekf", taken, weights["w1"]));        // [B, E, k, F]
        Tensor given = choice.Gates.unsqueeze(-1) * einsum("nekf,efd->nekd", hidden, weights["w2"]); // [B, E, k, D]
        return einsum("nekt,nekd->ntd", picks, given).MoveToOuterDisposeScope();                   // [B, T, D]
    }

    private static double Best(int rounds, Action work) => BestOfPair(rounds, work, () => { }).First;

    // The two alternate, so that a disturbance affects both.
    private static (double First, double Second) BestOfPair(int rounds, Action first, Action second)
    {
        (double First, double Second) best = (double.PositiveInfinity, double.PositiveInfinity);
        for (int round = -1; round < rounds; round++)
        {
            (double one, double two) = (Time(first), Time(second));
            // Round -1 is a warm-up and does not count.
            best = round < 0 ? best : (Math.Min(best.First, one), Math.Min(best.Second, two));
        }

        return best;

        static double Time(Action work)
        {
            long start = Stopwatch.GetTimestamp();
            work();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
    }

    // The same samples at every step, because data loading is not measured here.
    private sealed class RepeatedShard(Tensor latents, Tensor captions) : IShardSource
    {
        public ShardBatch Read(long step, int shard) => new(
            latents.clone(), captions.clone(), [.. Enumerable.Repeat(1.0, (int)latents.shape[0])], randn_like(latents),
            Mask: null);
    }
}
