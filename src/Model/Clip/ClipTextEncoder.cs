// CLIP's text tower. The diffusion model is conditioned on the tower's last hidden states at all positions.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using LayerNorm = Atelier.Model.Networks.LayerNorm;

namespace Atelier.Model.Clip;

/// <summary>
/// Maps token ids to features. In a state dict, the names of the text tower have no prefix and those of the image tower
/// start with "visual.", so a full <see cref="ClipModel"/> is a text tower with an image tower added, and a
/// <see cref="ClipTextEncoder"/> is the text tower alone. Symbols: B texts, T = 77 positions, D features. The caller
/// decides whether gradients are recorded: run inference inside inference_mode().
/// </summary>
public abstract class ClipTextTower : Module
{
    // RegisterComponents finds the fields of the most derived class, and of the inherited fields only those that are
    // not private.
    [ComponentName(Name = "token_embedding")] private protected readonly TokenEmbedding _tokens;
    [ComponentName(Name = "positional_embedding")] private protected readonly Parameter _positions;
    [ComponentName(Name = "transformer")] private protected readonly Transformer _transformer;
    [ComponentName(Name = "ln_final")] private protected readonly LayerNorm _normFinal;
    [ComponentName(Name = "text_projection")] private protected readonly Parameter _projection;

    private protected ClipTextTower(ClipConfig config, string name) : base(name)
    {
        ArgumentNullException.ThrowIfNull(config);
        if (config.Problem() is { } problem)
        {
            throw new ArgumentException(problem, nameof(config));
        }

        Config = config;
        ClipTextConfig text = config.Text;
        var shape = new TowerShape(
            text.Width, text.Heads, text.Layers, (int)(text.Width * text.MlpRatio), config.QuickGelu,
            Causal: !text.NoCausalMask);
        _tokens = new TokenEmbedding(text.VocabSize, text.Width);
        _positions = new Parameter(empty(text.ContextLength, text.Width));
        _transformer = new Transformer(shape);
        _normFinal = shape.Norm();
        _projection = new Parameter(empty(text.Width, config.EmbedDim));
    }

    /// <summary>The architecture of this network.</summary>
    public ClipConfig Config { get; }

    /// <summary>The last hidden state of every position, padding included.</summary>
    /// <param name="ids">[B, T] int64, each below the size of the vocabulary.</param>
    /// <returns>[B, T, D], after the final norm, not pooled and not projected.</returns>
    /// <exception cref="ArgumentException">The ids have the wrong shape or type.</exception>
    public Tensor Encode(Tensor ids)
    {
        CheckIds(ids);
        using var scope = NewDisposeScope();
        Tensor x = _tokens.call(ids).add(_positions);  // [B, T, D]
        return _normFinal.call(_transformer.call(x)).MoveToOuterDisposeScope();
    }

    /// <summary>One vector per text, in the space shared with pictures; not normalized.</summary>
    /// <param name="hidden">[B, T, D], the result of <see cref="Encode"/>.</param>
    /// <param name="ids">
    /// The ids that were encoded. The first occurrence of the largest id is the end of a text.
    /// </param>
    /// <returns>[B, EmbedDim].</returns>
    /// <exception cref="ArgumentException">The ids have the wrong shape or type.</exception>
    public Tensor Pool(Tensor hidden, Tensor ids)
    {
        ArgumentNullException.ThrowIfNull(hidden);
        CheckIds(ids);
        using var scope = NewDisposeScope();
        Tensor end = ids.argmax(1).view(-1, 1, 1).expand(-1, 1, hidden.shape[2]);       // [B, 1, D]
        return hidden.gather(1, end).squeeze(1).matmul(_projection).MoveToOuterDisposeScope();
    }

    private void CheckIds(Tensor ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (ids.dtype != ScalarType.Int64 || ids.shape is not [> 0, var length] || length != Config.Text.ContextLength)
        {
            string shape = string.Join(", ", ids.shape);
            throw new ArgumentException(
                $"{ids.dtype} [{shape}] is not Int64 [B, {Config.Text.ContextLength}].", nameof(ids));
        }
    }
}

/// <summary>The text tower alone, as the diffusion model uses it.</summary>
public sealed class ClipTextEncoder : ClipTextTower
{
    /// <summary>Allocates the tower. Its weights are undefined until they are loaded.</summary>
    /// <exception cref="ArgumentException">The configuration is not valid; the message says why.</exception>
    public ClipTextEncoder(ClipConfig config) : base(config, nameof(ClipTextEncoder)) => RegisterComponents();

    /// <summary>
    /// Maps a parameter's name in a full CLIP file to its name in the text tower; null if it belongs to another part of
    /// the model and can be skipped.
    /// </summary>
    public static string? CanonicalName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name == "logit_scale" || name.StartsWith("visual.", StringComparison.Ordinal) ? null : name;
    }
}

/// <summary>Looks up row ids[i] of the table for each i. Maps [B, T] to [B, T, D].</summary>
internal sealed class TokenEmbedding : Module<Tensor, Tensor>
{
    [ComponentName(Name = "weight")] private readonly Parameter _weight;

    public TokenEmbedding(long count, long width) : base(nameof(TokenEmbedding))
    {
        _weight = new Parameter(empty(count, width));
        RegisterComponents();
    }

    public override Tensor forward(Tensor input)
    {
        using Tensor flat = input.flatten();
        using Tensor rows = _weight.index_select(0, flat);             // [B * T, D]
        return rows.view([.. input.shape, _weight.shape[1]]);          // [B, T, D]
    }
}
