// CLIP's image tower: a vision transformer (Dosovitskiy et al., arXiv 2010.11929) read out at its class token.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using Conv2d = Atelier.Model.Networks.Conv2d;
using LayerNorm = Atelier.Model.Networks.LayerNorm;

namespace Atelier.Model.Clip;

/// <summary>
/// Maps pictures [B, 3, S, S], resized and normalized as the model requires, to features [B, EmbedDim], which are not
/// normalized. Symbols: P = (S / patch)² patches, D features per position.
/// </summary>
public sealed class ClipImageEncoder : Module<Tensor, Tensor>
{
    [ComponentName(Name = "class_embedding")] private readonly Parameter _classEmbedding;
    [ComponentName(Name = "positional_embedding")] private readonly Parameter _positions;
    [ComponentName(Name = "proj")] private readonly Parameter _projection;
    [ComponentName(Name = "conv1")] private readonly Conv2d _patches;
    [ComponentName(Name = "ln_pre")] private readonly LayerNorm _normPre;
    [ComponentName(Name = "transformer")] private readonly Transformer _transformer;
    [ComponentName(Name = "ln_post")] private readonly LayerNorm _normPost;
    private readonly int _side;

    /// <summary>Allocates the tower. Its weights are undefined until they are loaded.</summary>
    /// <exception cref="ArgumentException">The configuration is not valid; the message says why.</exception>
    public ClipImageEncoder(ClipConfig config) : base(nameof(ClipImageEncoder))
    {
        ArgumentNullException.ThrowIfNull(config);
        if (config.Problem() is { } problem)
        {
            throw new ArgumentException(problem, nameof(config));
        }

        ClipVisionConfig vision = config.Vision;
        int hidden = (int)(vision.Width * vision.MlpRatio);
        int patch = vision.PatchSize;
        int grid = vision.ImageSize / patch;
        var shape = new TowerShape(
            vision.Width, vision.Heads, vision.Layers, hidden, config.QuickGelu, Causal: false);
        _side = vision.ImageSize;
        _classEmbedding = new Parameter(empty(vision.Width));
        _positions = new Parameter(empty((grid * grid) + 1, vision.Width));
        _projection = new Parameter(empty(vision.Width, config.EmbedDim));
        _patches = new Conv2d(3, vision.Width, (patch, patch), stride: patch, bias: false);
        _normPre = shape.Norm();
        _transformer = new Transformer(shape);
        _normPost = shape.Norm();
        RegisterComponents();
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The pictures do not have the model's size.</exception>
    public override Tensor forward(Tensor input)
    {
        ArgumentNullException.ThrowIfNull(input);
        if (input.shape is not [> 0, 3, var h, var w] || h != _side || w != _side)
        {
            throw new ArgumentException(
                $"[{string.Join(", ", input.shape)}] is not [B, 3, {_side}, {_side}].", nameof(input));
        }

        using var scope = NewDisposeScope();
        Tensor patches = _patches.call(input).flatten(2).transpose(1, 2);           // [B, P, D]
        Tensor first = _classEmbedding.expand(patches.shape[0], 1, -1);             // [B, 1, D]
        Tensor x = cat([first, patches], dim: 1).add_(_positions);                  // [B, 1 + P, D]
        Tensor y = _transformer.call(_normPre.call(x));                             // [B, 1 + P, D]
        return _normPost.call(y.select(1, 0)).matmul(_projection).MoveToOuterDisposeScope();  // [B, EmbedDim]
    }
}
