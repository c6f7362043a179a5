// Contrastive training of the demo model's CLIP (Radford et al., arXiv 2103.00020) on renderings and captions, with an
// additional loss that preserves words and their positions in the hidden states that the denoiser reads.
using System.Text.Json.Serialization;
using Atelier.Model.Clip;
using Atelier.Model.Imaging;
using Atelier.Model.Training;
using Atelier.Shapes.Drawing;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Shapes.Training;

/// <summary>
/// Settings of the CLIP model's training. The defaults train a CLIP model from scratch; docs/log.md describes how the
/// shipped one was trained.
/// </summary>
public sealed record ClipTrainingConfig : PartTrainingConfig
{
    /// <summary>Creates the default settings.</summary>
    public ClipTrainingConfig()
    {
        Steps = 5_000;
        AverageSmoothing = 0.995;
        Seed = 31;
    }

    /// <summary>Width of the feature space shared by pictures and texts.</summary>
    public int EmbedDim { get; init; } = 128;

    /// <summary>The text tower; its vocabulary size comes from the tokenizer.</summary>
    public ClipTextConfig Text { get; init; } = new() { ContextLength = 32, Width = 128, Heads = 4, Layers = 4 };

    /// <summary>The image tower.</summary>
    public ClipVisionConfig Vision { get; init; } =
        new() { ImageSize = 64, PatchSize = 8, Width = 128, HeadWidth = 32, Layers = 4 };

    /// <summary>Number of pictures and texts in a step, a multiple of 4.</summary>
    [JsonPropertyOrder(20)]
    public int Batch { get; init; } = 256;

    /// <summary>
    /// Weight of the loss that preserves tokens and their positions in the text tower's hidden states.
    /// </summary>
    [JsonPropertyOrder(80)]
    public double RecallWeight { get; init; } = 0.1;
}

/// <summary>Trains a <see cref="ClipModel"/>.</summary>
internal sealed class ClipTraining : IDisposable
{
    private const string ScaleName = "logit_scale";

    // Number of pictures per pass, small enough for their feature maps to fit into the processor's cache.
    private const int Chunk = 32;
    private static readonly double s_scaleAtStart = Math.Log(1 / 0.07), s_scaleMax = Math.Log(100);

    private readonly ClipTrainingConfig _config;
    private readonly ClipTokenizer _tokenizer;
    private readonly ClipModel _network;
    private readonly PartTrainer _trainer;
    private readonly CaptionedScenes _scenes;
    private readonly SceneRenderer _renderer = new();

    /// <summary>Prepares a training with a vocabulary.</summary>
    public ClipTraining(ClipTrainingConfig config, string vocabulary)
    {
        _config = config;
        _tokenizer = ClipTokenizer.Load(vocabulary, config.Text.ContextLength);
        _network = NewNetwork();
        InitialWeights.Fill(_network, config.Seed, FillSpecial);
        var optimizer = new AdamWSettings { Beta2 = 0.98, Epsilon = 1e-6, WeightDecay = 0.05 };
        _trainer = new PartTrainer(_network, config, optimizer) { Bound = (ScaleName, s_scaleMax) };
        _scenes = new CaptionedScenes(config.Seed);
    }

    /// <summary>Runs the remaining steps; see <see cref="PartTrainer.Run{T}"/>.</summary>
    /// <returns>The averaged network in float32. The caller disposes it.</returns>
    public ClipModel Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        _trainer.Run(checkpoint, _config.Batch, Prepare, Loss, report, cancellation);
        ClipModel result = NewNetwork();
        _trainer.CopyResultTo(result);
        return result;
    }

    /// <summary>Converts pictures to the input of the image tower, [B, 3, S, S] float32.</summary>
    public static Tensor Normalize(Pictures pictures)
    {
        using var scope = NewDisposeScope();
        Tensor mean = tensor(ClipPreprocess.Mean.ToArray()).view(1, 3, 1, 1);
        Tensor deviation = tensor(ClipPreprocess.Deviation.ToArray()).view(1, 3, 1, 1);
        return pictures.ToTensor().add_(1).div_(2).sub_(mean).div_(deviation).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _trainer.Dispose();
        _network.Dispose();
        _renderer.Dispose();
    }

    private ClipModel NewNetwork() => new(new ClipConfig
    {
        EmbedDim = _config.EmbedDim,
        Text = _config.Text with { VocabSize = _tokenizer.VocabularySize },
        Vision = _config.Vision,
    });

    // As in the paper's code, the initial weights of a residual branch's last layer are smaller if there are more
    // branches.
    private bool FillSpecial(string name, Tensor parameter)
    {
        bool isVisual = name.StartsWith("visual.", StringComparison.Ordinal);
        (int width, int layers) = isVisual
            ? (_config.Vision.Width, _config.Vision.Layers)
            : (_config.Text.Width, _config.Text.Layers);
        double narrow = 1 / Math.Sqrt(width);
        double? deviation = name switch
        {
            "token_embedding.weight" => 0.02,
            "positional_embedding" => 0.01,
            "text_projection" or "visual.proj" or "visual.positional_embedding" or "visual.class_embedding" => narrow,
            _ when name.EndsWith(".in_proj_weight", StringComparison.Ordinal) => narrow,
            _ when name.EndsWith(".out_proj.weight", StringComparison.Ordinal) => narrow / Math.Sqrt(2 * layers),
            _ when name.EndsWith(".c_proj.weight", StringComparison.Ordinal) => narrow / Math.Sqrt(2 * layers),
            _ when name.EndsWith(".c_fc.weight", StringComparison.Ordinal) => narrow / Math.Sqrt(2),
            _ => null,
        };
        if (deviation is { } value)
        {
            InitialWeights.Normal(parameter, name, _config.Seed, value);
        }
        else if (name == ScaleName)
        {
            parameter.fill_(s_scaleAtStart);
        }

        return deviation is not null || name == ScaleName;
    }

    private (Pictures Pictures, long[] Ids) Prepare(long step)
    {
        CaptionedScene[] scenes = _scenes.Batch(step, _config.Batch);
        Pictures pictures = Pictures.Render(
            _renderer, [.. scenes.Select(scene => scene.Scene)], _config.Vision.ImageSize);
        return (pictures, CaptionedScenes.Tokens(_tokenizer, scenes));
    }

    private double Loss(long step, (Pictures Pictures, long[] Ids) batch)
    {
        using var scope = NewDisposeScope();
        int count = batch.Pictures.Count;
        Tensor pictures = Normalize(batch.Pictures).to(_config.Compute);
        Tensor ids = tensor(batch.Ids, [count, _config.Text.ContextLength]);
        Tensor image = InChunks(pictures, _network.EncodeImage).to(ScalarType.Float32);          // [B, E]
        Tensor hidden = InChunks(ids, _network.Encode);                                          // [B, T, D]
        Tensor text = _network.Pool(hidden, ids).to(ScalarType.Float32);                         // [B, E]
        Tensor logits = _network.Logits(image, text), right = arange(count);                     // [B, B], [B]
        Tensor loss = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.t(), right)) / 2;
        (loss + (_config.RecallWeight * Recall(hidden, ids))).backward();
        return loss.item<float>();
    }

    // A loss for how poorly the last hidden states identify the token at each position, measured with the token and
    // position tables. The contrastive loss alone suppresses words that distinguish few pictures (the states of "left"
    // and "right" differed by only a twentieth of their length), so the denoiser, which is conditioned on the states,
    // could not distinguish such words.
    private Tensor Recall(Tensor hidden, Tensor ids)
    {
        Tensor places = arange(_config.Text.ContextLength).expand_as(ids);                       // [B, T]
        Tensor isSaid = places <= ids.argmax(1, keepdim: true);
        Tensor said = hidden[isSaid];                                                            // [N, D]
        return WrongBy("token_embedding.weight", ids) + WrongBy("positional_embedding", places);

        Tensor WrongBy(string table, Tensor right) => functional.cross_entropy(
            said.matmul(_network.get_parameter(table)!.t()).to(ScalarType.Float32), right[isSaid]);
    }

    private static Tensor InChunks(Tensor batch, Func<Tensor, Tensor> encode) =>
        cat([.. batch.split(Chunk).Select(encode)]);
}
