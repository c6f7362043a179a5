// MicroDiT, the denoising network of "Stretching Each Dollar" (arXiv 2407.15811) in reading order: a block, the head,
// the network. Names of modules and parameters are those of the reference's state dict.
// Symbols: B pictures, T tokens, L caption tokens, D features, C latent channels, p patch side.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Networks;

/// <summary>
/// A transformer block: self-attention, cross-attention and feed-forward, each with a residual connection.
/// Self-attention and feed-forward are modulated (shift, scale) and gated by the conditioning; cross-attention is
/// neither.
/// </summary>
public sealed class DiTBlock : Module<Tensor, Tensor, KeyValue, Tensor>
{
    [ComponentName(Name = "norm1")] private readonly LayerNorm _norm1;
    [ComponentName(Name = "attn")] private readonly SelfAttention _attention;
    [ComponentName(Name = "cross_attn")] private readonly CrossAttention _crossAttention;
    [ComponentName(Name = "norm2")] private readonly LayerNorm _norm2;
    [ComponentName(Name = "norm3")] private readonly LayerNorm _norm3;
    [ComponentName(Name = "mlp")] private readonly Module<Tensor, Tensor> _feedForward;
    [ComponentName(Name = "adaLN_modulation")] private readonly Sequential _modulation;

    /// <summary>
    /// Allocates a block. The conditioning has the width <see cref="MicroDiTConfig.Dim"/>, which may differ from the
    /// block's width.
    /// </summary>
    public DiTBlock(MicroDiTConfig config, BlockShape shape) : base(nameof(DiTBlock))
    {
        (int width, double eps) = (shape.Width, config.NormEps);
        _norm1 = new LayerNorm(width, eps);
        _attention = new SelfAttention(
            width, shape.AttentionWidth, shape.AttentionWidth / config.HeadDim, eps, config.UseBias);
        _crossAttention = new CrossAttention(width, width / config.HeadDim, eps, config.UseBias);
        _norm2 = new LayerNorm(width, eps);
        _norm3 = new LayerNorm(width, eps);
        _feedForward = shape.HasExperts
            ? new ExpertChoiceFeedForward(config.NumExperts, config.ExpertCapacity, width, shape.FeedForwardWidth)
            : new FeedForward(width, shape.FeedForwardWidth, config.UseBias);
        _modulation = Sequential(("0", new TanhGelu()), ("1", new Linear(config.Dim, 6L * width, bias: true)));
        RegisterComponents();
    }

    /// <summary>Keys and values of a caption [B, L, width] for this block.</summary>
    public KeyValue Project(Tensor caption) => _crossAttention.Project(caption);

    /// <summary>Transforms tokens x [B, T, width] under conditioning c [B, D] and a caption.</summary>
    public override Tensor forward(Tensor x, Tensor c, KeyValue caption)
    {
        using var scope = NewDisposeScope();
        Tensor[] m = _modulation.call(c).unsqueeze(1).chunk(6, dim: 2);                     // 6 of [B, 1, width]
        (Tensor shift1, Tensor scale1, Tensor gate1) = (m[0], m[1], m[2]);
        (Tensor shift3, Tensor scale3, Tensor gate3) = (m[3], m[4], m[5]);
        x = Gated(x, gate1, _attention.call(Modulate(_norm1.call(x), shift1, scale1)));   // [B, T, width]
        x = x + _crossAttention.call(_norm2.call(x), caption);                            // [B, T, width]
        x = Gated(x, gate3, _feedForward.call(Modulate(_norm3.call(x), shift3, scale3))); // [B, T, width]
        return x.MoveToOuterDisposeScope();
    }

    /// <summary>x (1 + scale) + shift.</summary>
    internal static Tensor Modulate(Tensor x, Tensor shift, Tensor scale) => addcmul(shift, x, scale + 1, 1);

    private static Tensor Gated(Tensor x, Tensor gate, Tensor change) => addcmul(x, gate, change, 1);
}

/// <summary>One block of self-attention and gated feed-forward over the caption's tokens, without modulation.</summary>
public sealed class CaptionBlock : Module<Tensor, Tensor>
{
    [ComponentName(Name = "norm1")] private readonly LayerNorm _norm1;
    [ComponentName(Name = "attn")] private readonly SelfAttention _attention;
    [ComponentName(Name = "norm2")] private readonly LayerNorm _norm2;
    [ComponentName(Name = "mlp")] private readonly FeedForward _feedForward;

    /// <summary>
    /// Allocates the block. Its gated feed-forward has two thirds of 4 D hidden features, rounded up.
    /// </summary>
    public CaptionBlock(MicroDiTConfig config) : base(nameof(CaptionBlock))
    {
        int dim = config.Dim;
        _norm1 = new LayerNorm(dim, config.NormEps);
        _attention = new SelfAttention(dim, dim, dim / config.HeadDim, config.NormEps, config.UseBias);
        _norm2 = new LayerNorm(dim, config.NormEps);
        _feedForward = new FeedForward(dim, config.GatedWidth(4 * dim), config.UseBias);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor x = input + _attention.call(_norm1.call(input));                   // [B, L, D]
        return (x + _feedForward.call(_norm2.call(x))).MoveToOuterDisposeScope(); // [B, L, D]
    }
}

/// <summary>The head: a modulated norm and a projection of every token to the p² C numbers of its patch.</summary>
public sealed class FinalLayer : Module<Tensor, Tensor, Tensor>
{
    [ComponentName(Name = "linear")] private readonly Linear _linear;
    [ComponentName(Name = "adaLN_modulation")] private readonly Sequential _modulation;
    [ComponentName(Name = "norm_final")] private readonly LayerNorm _norm;

    /// <summary>Allocates the head.</summary>
    public FinalLayer(MicroDiTConfig config) : base(nameof(FinalLayer))
    {
        _linear = new Linear(config.Dim, config.PatchValues, bias: true);
        _modulation = Sequential(("0", new TanhGelu()), ("1", new Linear(config.Dim, 2L * config.Dim, bias: true)));
        _norm = new LayerNorm(config.Dim, config.NormEps);
        RegisterComponents();
    }

    /// <summary>Maps tokens x [B, T, D] under conditioning c [B, D] to [B, T, p² C].</summary>
    public override Tensor forward(Tensor x, Tensor c)
    {
        using var scope = NewDisposeScope();
        Tensor[] m = _modulation.call(c).unsqueeze(1).chunk(2, dim: 2);                              // 2 of [B, 1, D]
        return _linear.call(DiTBlock.Modulate(_norm.call(x), m[0], m[1])).MoveToOuterDisposeScope(); // [B, T, p² C]
    }
}

/// <summary>
/// The part of an evaluation that depends only on the caption and is computed once per picture: the caption's pooled
/// embedding, and the cross-attention keys and values of every block.
/// </summary>
/// <param name="Pooled">Pooled embedding, which is added to the noise embedding, [B, D].</param>
/// <param name="Mixer">Keys and values for the patch mixer's blocks.</param>
/// <param name="Backbone">Keys and values for the backbone's blocks.</param>
public sealed record CaptionContext(
    Tensor Pooled, IReadOnlyList<KeyValue> Mixer, IReadOnlyList<KeyValue> Backbone) : IDisposable
{
    /// <summary>Number of captions in this context, B.</summary>
    public long Batch => Pooled.shape[0];

    /// <summary>Joins the rows of several contexts, in order. The caller keeps ownership of the parts.</summary>
    public static CaptionContext Join(IReadOnlyList<CaptionContext> parts)
    {
        ArgumentOutOfRangeException.ThrowIfZero(parts.Count);
        return new CaptionContext(
            cat([.. parts.Select(part => part.Pooled)], dim: 0),
            JoinBlocks([.. parts.Select(part => part.Mixer)]),
            JoinBlocks([.. parts.Select(part => part.Backbone)]));

        static KeyValue[] JoinBlocks(IReadOnlyList<KeyValue>[] parts) =>
        [
            .. Enumerable.Range(0, parts[0].Count).Select(block => new KeyValue(
                cat([.. parts.Select(part => part[block].Key)], dim: 0),
                cat([.. parts.Select(part => part[block].Value)], dim: 0))),
        ];
    }

    /// <summary>
    /// Moves the tensors out of the current dispose scope; the context then lives until it is disposed.
    /// </summary>
    public CaptionContext Detached()
    {
        Pooled.DetachFromDisposeScope();
        foreach (KeyValue block in Mixer.Concat(Backbone))
        {
            block.Key.DetachFromDisposeScope();
            block.Value.DetachFromDisposeScope();
        }

        return this;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Pooled.Dispose();
        foreach (KeyValue block in Mixer.Concat(Backbone))
        {
            block.Dispose();
        }
    }
}

/// <summary>
/// The denoising network F(x, c_noise, caption). A patch mixer sees all tokens; the backbone sees only the unmasked
/// tokens.
/// </summary>
public sealed class MicroDiT : Module<Tensor, Tensor, CaptionContext, Tensor>
{
    [ComponentName(Name = "x_embedder")] private readonly PatchEmbed _patches;
    [ComponentName(Name = "t_embedder")] private readonly TimestepEmbedder _noise;
    [ComponentName(Name = "y_embedder")] private readonly CaptionProjection _caption;
    [ComponentName(Name = "y_emb_preprocess")] private readonly CaptionBlock _captionBlock;
    [ComponentName(Name = "pooled_y_emb_process")] private readonly EmbeddingMlp _pooled;
    [ComponentName(Name = "patch_mixer")] private readonly ModuleList<DiTBlock>? _mixer;
    [ComponentName(Name = "patch_mixer_map_xin")] private readonly Sequential? _mixerIn;
    [ComponentName(Name = "patch_mixer_map_xout")] private readonly Sequential? _mixerOut;
    [ComponentName(Name = "patch_mixer_map_y")] private readonly Sequential? _mixerCaption;
    [ComponentName(Name = "blocks")] private readonly ModuleList<DiTBlock> _blocks;
    [ComponentName(Name = "final_layer")] private readonly FinalLayer _final;

    /// <summary>Allocates a network. Its parameters are undefined until they are loaded or initialized.</summary>
    public MicroDiT(MicroDiTConfig config) : base(nameof(MicroDiT))
    {
        Config = config.Checked();
        (int dim, double eps) = (config.Dim, config.NormEps);
        _patches = new PatchEmbed(config.PatchSize, config.InChannels, dim);
        _noise = new TimestepEmbedder(dim);
        _caption = new CaptionProjection(config.CaptionChannels, dim, eps);
        _captionBlock = new CaptionBlock(config);
        _pooled = new EmbeddingMlp(dim, dim, eps);
        if (config.UsePatchMixer)
        {
            _mixer = ModuleList([.. config.MixerBlocks().Select(shape => new DiTBlock(config, shape))]);
            if (config.PatchMixerDim != dim)
            {
                _mixerIn = Map(dim, config.PatchMixerDim);
                _mixerOut = Map(config.PatchMixerDim, dim);
                _mixerCaption = Map(dim, config.PatchMixerDim);
            }
        }

        _blocks = ModuleList([.. config.BackboneBlocks().Select(shape => new DiTBlock(config, shape))]);
        _final = new FinalLayer(config);
        float[] positions = PositionTable.Build(dim, config.Grid, config.PosInterpScale, config.Grid);
        register_buffer("pos_embed", tensor(positions, [1, config.Tokens, dim]));
        register_buffer("mask_token", zeros(1, 1, config.PatchValues));
        RegisterComponents();

        Sequential Map(int from, int to) =>
            Sequential(("0", new LayerNorm(from, eps)), ("1", new Linear(from, to, config.UseBias)));
    }

    /// <summary>The network's configuration.</summary>
    public MicroDiTConfig Config { get; }

    /// <summary>Computes the part of an evaluation that depends only on the caption. The caller disposes it.</summary>
    /// <param name="captions">
    /// Caption features [B, L, caption channels] on any device; all zeros represent the empty caption.
    /// </param>
    public CaptionContext Caption(Tensor captions)
    {
        using var scope = NewDisposeScope();
        Tensor y = CaptionTokens(captions);                                     // [B, L, D]
        Tensor pooled = _pooled.call(y.mean([1]));                              // [B, D]
        Tensor yMixer = _mixerCaption?.call(y) ?? y;                            // [B, L, D_mixer]
        var context = new CaptionContext(
            pooled,
            [.. (_mixer ?? []).Select(block => block.Project(yMixer))],
            [.. _blocks.Select(block => block.Project(y))]);
        context.Pooled.MoveToOuterDisposeScope();
        foreach (KeyValue block in context.Mixer.Concat(context.Backbone))
        {
            block.Key.MoveToOuterDisposeScope();
            block.Value.MoveToOuterDisposeScope();
        }

        return context;
    }

    /// <summary>The caption's tokens behind the caption block, which all blocks attend to, [B, L, D].</summary>
    /// <inheritdoc cref="Caption"/>
    public Tensor CaptionTokens(Tensor captions)
    {
        using var scope = NewDisposeScope();

        // External data may start at any address, and the bits of small products depend on the alignment. A copy is
        // aligned.
        Tensor like = get_buffer("pos_embed")!;
        Tensor own = captions.to(like.dtype, like.device, copy: true);          // [B, L, channels]
        return _captionBlock.call(_caption.call(own)).MoveToOuterDisposeScope();
    }

    /// <summary>F(x, t, caption) for every patch.</summary>
    /// <param name="x">Latent, already scaled by c_in, [B, C, H, W].</param>
    /// <param name="t">Noise level c_noise, [B] or [1].</param>
    /// <param name="caption">Context of B captions.</param>
    /// <returns>[B, C, H, W].</returns>
    public override Tensor forward(Tensor x, Tensor t, CaptionContext caption) => Predict(x, t, caption, mask: null);

    /// <summary>F(x, t, caption); masked patches of the result hold the mask token (zeros).</summary>
    /// <inheritdoc cref="forward(Tensor, Tensor, CaptionContext)"/>
    public Tensor Predict(Tensor x, Tensor t, CaptionContext caption, PatchMask? mask)
    {
        using var scope = NewDisposeScope();
        Tensor tokens = _patches.call(x) + get_buffer("pos_embed")!;             // [B, T, D]
        Tensor c = _noise.call(t.expand(x.shape[0])) + caption.Pooled;          // [B, D]
        tokens = _mixerIn?.call(tokens) ?? tokens;                              // [B, T, D_mixer]
        tokens = Through(_mixer ?? [], tokens, c, caption.Mixer);               // [B, T, D_mixer]
        tokens = mask?.Select(tokens) ?? tokens;                                // [B, k, D_mixer]
        tokens = _mixerOut?.call(tokens) ?? tokens;                             // [B, k, D]
        tokens = Through(_blocks, tokens, c, caption.Backbone);                 // [B, k, D]
        Tensor patches = _final.call(tokens, c);                                // [B, k, p² C]
        patches = mask?.Fill(patches, get_buffer("mask_token")!) ?? patches;     // [B, T, p² C]
        return Unpatchify(patches).MoveToOuterDisposeScope();                   // [B, C, H, W]
    }

    private static Tensor Through(IEnumerable<DiTBlock> blocks, Tensor x, Tensor c, IReadOnlyList<KeyValue> captions)
    {
        int index = 0;
        foreach (DiTBlock block in blocks)
        {
            Tensor next = block.call(x, c, captions[index++]);
            if (!is_grad_enabled())
            {
                x.Dispose(); // Without gradients, earlier tokens are not needed, so only one block's tokens are kept.
            }

            x = next;
        }

        return x;
    }

    // [B, T, p p C] -> [B, C, grid p, grid p]
    private Tensor Unpatchify(Tensor patches)
    {
        (int grid, int p, int channels) = (Config.Grid, Config.PatchSize, Config.InChannels);
        return patches.view(-1, grid, grid, p, p, channels)  // [B, h, w, p, q, C]
            .permute(0, 5, 1, 3, 2, 4)                       // [B, C, h, p, w, q]
            .reshape(-1, channels, grid * p, grid * p);      // [B, C, H, W]
    }
}
