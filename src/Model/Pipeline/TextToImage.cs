// The pipeline from prompts to pictures on one device: encode, denoise, decode. The three parts are independent, so
// that a cluster can run them on different machines; Generate runs all three.
using System.Runtime.InteropServices;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Randomness;
using static TorchSharp.torch;

namespace Atelier.Model.Pipeline;

/// <summary>A model's networks in memory. Not thread-safe.</summary>
public sealed class TextToImage : IDisposable
{
    /// <summary>
    /// Rows of a forward pass on CPUs: enough for one guided picture. Wider passes are hardly faster there.
    /// </summary>
    public const int CpuWidth = 2;

    // Larger latents are decoded in tiles, because the cost of attention over all positions grows with the square of
    // their number.
    private const int TileSide = 128;
    private const int TileOverlap = 32;

    private readonly ClipTokenizer _tokenizer;
    private readonly ClipTextTower _text;
    private readonly MicroDiT _network;
    private readonly AutoencoderKL _autoencoder;
    private readonly Denoiser _denoiser;
    private readonly Device _device;

    /// <summary>Creates a pipeline, which then owns the networks.</summary>
    /// <param name="tokenizer">Maps words to token ids.</param>
    /// <param name="text">Maps token ids to caption features.</param>
    /// <param name="network">The denoising network.</param>
    /// <param name="edm">The network's preconditioning.</param>
    /// <param name="autoencoder">Decodes latents into pictures.</param>
    /// <param name="width">Rows of a forward pass; see <see cref="Denoiser"/>.</param>
    public TextToImage(
        ClipTokenizer tokenizer, ClipTextTower text, MicroDiT network, Edm edm, AutoencoderKL autoencoder,
        int width = CpuWidth)
    {
        (_tokenizer, _text, _network, _autoencoder) = (tokenizer, text, network, autoencoder);
        _device = network.get_buffer("pos_embed")!.device;
        _denoiser = new Denoiser(network, edm, width);
    }

    /// <summary>
    /// Loads a model folder's networks, tensor by tensor, in float32, and compares its files with their digests, so
    /// that <see cref="ModelFolder.Digest"/> identifies the weights in memory.
    /// </summary>
    /// <exception cref="RefusedFileException">
    /// A file is damaged, does not fit the others, or does not match the manifest.
    /// </exception>
    public static TextToImage Load(ModelFolder model, int width = CpuWidth)
    {
        // Hashing on another core takes no longer than creating and filling the networks here, and whichever of the two
        // reads a file first leaves it in the page cache for the other.
        Task<string[]> differing = Task.Run(() => model.DifferingFiles().ToArray());
        Encoders encoders = Encoders.Load(model);
        var network = new MicroDiT(model.DenoiserConfig);
        Encoders.LoadWeights(network, model.PathOf(model.Denoiser));
#pragma warning disable VSTHRD002 // Loading is synchronous, and hashing does not depend on this thread.
        if (differing.GetAwaiter().GetResult() is [var name, ..])
#pragma warning restore VSTHRD002
        {
            throw new RefusedFileException(
                System.IO.Path.Combine(model.Path, name), "digest",
                $"is not the one in {ModelFolder.FileName}: the file was changed or belongs to another model.");
        }

        return new TextToImage(encoders.Tokenizer, encoders.Text, network, model.Edm, encoders.Autoencoder, width);
    }

    /// <summary>Number of elements of a latent.</summary>
    public int LatentLength => _denoiser.LatentLength;

    /// <summary>
    /// Encodes a text into caption features [1, L, D]; those of the empty text are zeros, as in training. The caller
    /// disposes them.
    /// </summary>
    /// <exception cref="NonFiniteException">The text encoder gives NaN or infinity.</exception>
    public Tensor Encode(string text)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        int length = _text.Config.Text.ContextLength;
        Tensor features = text.Length == 0
            ? zeros(1, length, _text.Config.Text.Width)
            : _text.Encode(tensor(_tokenizer.Encode(text).Select(id => (long)id).ToArray(), [1, length]).to(_device));
        return Finite.Check(ModelParts.TextEncoder, features).MoveToOuterDisposeScope();
    }

    /// <summary>Counts the tokens of a text, and how many of them <see cref="Encode"/> uses.</summary>
    public TokenCount Count(string text) => _tokenizer.Count(text);

    /// <summary>
    /// Prepares caption features [1, L, D] for the denoising network. The caller disposes the context.
    /// </summary>
    public CaptionContext Condition(Tensor features)
    {
        using var noGradients = inference_mode();
        return _network.Caption(features);
    }

    /// <summary>Number of caption tokens, and features per token.</summary>
    public (int Length, int Width) CaptionShape => (_text.Config.Text.ContextLength, _text.Config.Text.Width);

    /// <summary>The sampler of a request.</summary>
    public static HeunSampler Sampler(GenerationRequest request) => new(request.Sampler, (step, noise) =>
    {
        var draws = new float[noise.Length];
        SeededNoise.Normal(request.Seed, NoisePurpose.Churn, step, draws);
        for (int i = 0; i < draws.Length; i++)
        {
            noise[i] = draws[i];
        }
    });

    /// <summary>The initial state of a request's picture.</summary>
    public SamplerState Start(GenerationRequest request, HeunSampler sampler) => sampler.Start(DrawStart(request));

    /// <summary>
    /// Evaluates several pictures once each; they may be at different steps. See <see cref="Denoiser"/>.
    /// </summary>
    public double[][] Evaluate(IReadOnlyList<DenoiserRequest> requests) => _denoiser.Evaluate(requests);

    /// <summary>Samples the clean latents of several pictures in a batch.</summary>
    /// <param name="pictures">For each picture its sampler, start state and conditioning.</param>
    /// <param name="progress">Receives the number of evaluations so far.</param>
    /// <param name="cancellation">Checked before each evaluation.</param>
    /// <exception cref="NonFiniteException">The denoiser gives NaN or infinity.</exception>
    public double[][] Sample(
        IReadOnlyList<(
            HeunSampler Sampler, SamplerState Start, CaptionContext Prompt, CaptionContext Negative)> pictures,
        Action<int>? progress = null, CancellationToken cancellation = default)
    {
        SamplerState[] states = [.. pictures.Select(picture => picture.Start)];
        int evaluations = 0;
        while (true)
        {
            int[] open = [.. Enumerable.Range(0, states.Length).Where(i => !pictures[i].Sampler.IsDone(states[i]))];
            if (open.Length == 0)
            {
                return [.. states.Select(state => state.Latent)];
            }

            cancellation.ThrowIfCancellationRequested();
            double[][] answers = _denoiser.Evaluate(
                [.. open.Select(i => new DenoiserRequest(
                    pictures[i].Sampler.Next(states[i]), pictures[i].Prompt, pictures[i].Negative))]);
            for (int k = 0; k < open.Length; k++)
            {
                states[open[k]] = pictures[open[k]].Sampler.Advance(states[open[k]], answers[k]);
            }

            progress?.Invoke(evaluations += open.Length);
        }
    }

    /// <summary>Decodes a clean latent into a picture.</summary>
    /// <exception cref="NonFiniteException">
    /// The latent holds a value that is not finite as float32, or the decoder gives NaN or infinity.
    /// </exception>
    public RgbImage Decode(ReadOnlySpan<double> latent)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        int size = _network.Config.InputSize;
        var scaled = new float[latent.Length];
        for (int i = 0; i < scaled.Length; i++)
        {
            scaled[i] = (float)latent[i];
        }

        Finite.Check(ModelParts.Denoiser, scaled);
        Tensor own = tensor(scaled, [1, _network.Config.InChannels, size, size]).to(_device);
        Tensor z = (own / _autoencoder.Config.ScalingFactor)
            + _autoencoder.Config.ShiftFactor;                                                         // [1, C, h, w]
        Tensor decoded = size <= TileSide ? _autoencoder.Decode(z) : _autoencoder.DecodeTiled(z, TileSide, TileOverlap);
        return ToImage(decoded);
    }

    /// <summary>Draws the pictures of several requests in a batch; each has the same bytes as if drawn alone.</summary>
    /// <param name="requests">Checked requests.</param>
    /// <param name="progress">Receives the finished fraction of the work.</param>
    /// <param name="cancellation">Checked between evaluations.</param>
    /// <exception cref="NonFiniteException">A part gives NaN or infinity; no pictures are returned.</exception>
    public IReadOnlyList<RgbImage> Generate(
        IReadOnlyList<GenerationRequest> requests,
        Action<double>? progress = null, CancellationToken cancellation = default)
    {
        var contexts = new Dictionary<string, CaptionContext>(StringComparer.Ordinal);
        try
        {
            foreach (string text in requests.SelectMany(request => new[] { request.Prompt, request.Negative })
                .Distinct())
            {
                using Tensor features = Encode(text);
                contexts[text] = Condition(features);
            }

            int total = requests.Sum(request => (2 * request.Sampler.Steps) - 1);
            double[][] latents = Sample(
                [.. requests.Select(r => Prepare(r, contexts[r.Prompt], contexts[r.Negative]))],
                done => progress?.Invoke((double)done / total), cancellation);
            return [.. latents.Select(latent => Decode(latent))];
        }
        finally
        {
            foreach (CaptionContext context in contexts.Values)
            {
                context.Dispose();
            }
        }
    }

    /// <summary>Draws each prompt once, all with one seed, and joins the pictures into a sheet.</summary>
    /// <param name="prompts">At least one.</param>
    /// <param name="seed">Seed of every picture.</param>
    /// <param name="sampler">Sampler settings.</param>
    /// <param name="size">Side of a picture in pixels.</param>
    /// <param name="columns">Pictures per row.</param>
    /// <param name="cancellation">Checked between evaluations.</param>
    /// <exception cref="ArgumentException">There is no prompt, or a number is out of range.</exception>
    public RgbImage DrawSheet(
        IReadOnlyList<string> prompts, ulong seed, SamplerSettings sampler, int size, int columns,
        CancellationToken cancellation = default) => PictureSheet.Join(
        Generate(
            [
                .. prompts.Select(prompt =>
                    new GenerationRequest { Prompt = prompt, Seed = seed, Sampler = sampler, Size = size }.Checked(
                        size)),
            ],
            cancellation: cancellation),
        columns);

    /// <summary>
    /// torch's CPU generator as the reference seeds it: the reference treats seed 0 as no seed, so its generator keeps
    /// torch's initial seed.
    /// </summary>
    public static Generator ReferenceGenerator(ulong seed) => new(seed == 0 ? 67280421310721 : seed, CPU);

    /// <summary>
    /// Turns a decoded picture [1, 3, H, W] in [-1, 1] into bytes: clamped, scaled to 0..255 and rounded.
    /// </summary>
    /// <exception cref="NonFiniteException">The picture holds NaN or infinity.</exception>
    public static RgbImage ToImage(Tensor decoded)
    {
        using var scope = NewDisposeScope();
        Finite.Check(ModelParts.Decoder, decoded);
        Tensor bytes = ((decoded / 2) + 0.5).clamp(0, 1).mul(255).round().to(ScalarType.Byte)
            .squeeze(0).permute(1, 2, 0).contiguous().cpu();                                           // [H, W, 3]
        return new RgbImage((int)bytes.shape[1], (int)bytes.shape[0], bytes.bytes.ToArray());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _denoiser.Dispose();
        _text.Dispose();
        _network.Dispose();
        _autoencoder.Dispose();
    }

    private (HeunSampler, SamplerState, CaptionContext, CaptionContext) Prepare(
        GenerationRequest request, CaptionContext prompt, CaptionContext negative)
    {
        HeunSampler sampler = Sampler(request);
        return (sampler, Start(request, sampler), prompt, negative);
    }

    private float[] DrawStart(GenerationRequest request)
    {
        var noise = new float[LatentLength];
        if (request.Noise == StartNoise.Seeded)
        {
            SeededNoise.Normal(request.Seed, NoisePurpose.StartLatent, 0, noise);
            return noise;
        }

        using Generator generator = ReferenceGenerator(request.Seed);
        int size = _network.Config.InputSize;
        using Tensor drawn = randn([1, _network.Config.InChannels, size, size], generator: generator);
        MemoryMarshal.Cast<byte, float>(drawn.bytes).CopyTo(noise);
        return noise;
    }
}
