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

    /// <summary>
    /// Weight of the loss that binds to each noun what the caption says of its things; 0 trains without it.
    /// </summary>
    [JsonPropertyOrder(81), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public double BindingWeight { get; init; }

    /// <summary>
    /// Number of captions in a step for that loss. They have no pictures; three quarters of them say a relation.
    /// </summary>
    [JsonPropertyOrder(82), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int BindingBatch { get; init; }

    /// <summary>
    /// The default settings of the training that follows: the text tower sees whole captions from then on and learns to
    /// bind words to things.
    /// </summary>
    public static ClipTrainingConfig Binding { get; } = new()
    {
        Text = new ClipTrainingConfig().Text with { NoCausalMask = true }, Steps = 2_000, Batch = 64,
        BindingWeight = 1, BindingBatch = 128, Seed = 32,
    };
}

/// <summary>The data of a step.</summary>
/// <param name="Pictures">The pictures.</param>
/// <param name="Ids">Token ids of their captions.</param>
/// <param name="Nouns">Captions without pictures; null for none.</param>
internal sealed record ClipBatch(Pictures Pictures, long[] Ids, NounBatch? Nouns);

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
    private readonly BoundClip? _bound;
    private readonly PartTrainer _trainer;
    private readonly CaptionedScenes _scenes;
    private readonly SceneRenderer _renderer = new();

    /// <summary>Prepares a training with a vocabulary.</summary>
    /// <param name="config">Settings of the training.</param>
    /// <param name="vocabulary">Path of the vocabulary.</param>
    /// <param name="start">Loads the initial weights into a network; null to draw them from the seed.</param>
    public ClipTraining(ClipTrainingConfig config, string vocabulary, Action<ClipModel>? start = null)
    {
        if (config.BindingWeight > 0)
        {
            ArgumentOutOfRangeException.ThrowIfNegativeOrZero(config.BindingBatch, nameof(config.BindingBatch));
        }

        _config = config;
        _tokenizer = ClipTokenizer.Load(vocabulary, config.Text.ContextLength);
        _network = NewNetwork();
        if (start is null)
        {
            InitialWeights.Fill(_network, config.Seed, FillSpecial);
        }
        else
        {
            start(_network);
        }

        _bound = Bind(_network);
        var optimizer = new AdamWSettings { Beta2 = 0.98, Epsilon = 1e-6, WeightDecay = 0.05 };
        _trainer = new PartTrainer(_bound ?? (Module)_network, config, optimizer)
        {
            Bound = (_bound is null ? ScaleName : $"{BoundClip.Prefix}{ScaleName}", s_scaleMax),
        };
        _scenes = new CaptionedScenes(config.Seed);
    }

    /// <summary>Runs the remaining steps; see <see cref="PartTrainer.Run{T}"/>.</summary>
    /// <returns>The averaged network in float32. The caller disposes it.</returns>
    public ClipModel Run(string checkpoint, Action<PartProgress>? report, CancellationToken cancellation)
    {
        _trainer.Run(checkpoint, _config.Batch, Prepare, Loss, report, cancellation);
        ClipModel result = NewNetwork();
        _trainer.CopyResultTo(Bind(result) ?? (Module)result); // Not disposed: that would dispose the result.
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
        (_bound ?? (Module)_network).Dispose();
        _renderer.Dispose();
    }

    private BoundClip? Bind(ClipModel network) =>
        _config.BindingWeight > 0 ? new BoundClip(network, _config.Text.Width) : null;

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

    private ClipBatch Prepare(long step)
    {
        CaptionedScene[] scenes = _scenes.Batch(step, _config.Batch);
        Pictures pictures = Pictures.Render(
            _renderer, [.. scenes.Select(scene => scene.Scene)], _config.Vision.ImageSize);
        return new ClipBatch(
            pictures, CaptionedScenes.Tokens(_tokenizer, scenes.Select(scene => scene.Text)),
            _config.BindingWeight > 0 ? _scenes.Nouns(step, _config.BindingBatch, _tokenizer) : null);
    }

    private double Loss(long step, ClipBatch batch)
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
        Tensor all = loss + (_config.RecallWeight * Recall(hidden, ids));
        if (batch.Nouns is { } nouns)
        {
            all += _config.BindingWeight * Binding(nouns);
        }

        all.backward();
        return loss.item<float>();
    }

    // A loss for how poorly the states at nouns hold what the caption says of their things (NounFact).
    private Tensor Binding(NounBatch nouns)
    {
        Tensor ids = tensor(nouns.Ids, [nouns.Count, _config.Text.ContextLength]);
        Tensor states = InChunks(ids, _network.Encode).flatten(0, 1).index_select(0, tensor(nouns.Places)); // [N, D]
        Tensor facts = tensor(nouns.Facts, [nouns.Places.Length, nouns.Facts.Length / nouns.Places.Length]);
        return _bound!.Loss(states, facts);
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
