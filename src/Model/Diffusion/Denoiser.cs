// The batched denoiser: evaluations for many pictures share forward passes of one fixed width.
using Atelier.Model.Networks;
using static TorchSharp.torch;

namespace Atelier.Model.Diffusion;

/// <summary>An evaluation for one picture, with the picture's conditioning.</summary>
/// <param name="Evaluation">The evaluation that the sampler needs.</param>
/// <param name="Prompt">Context of one caption, the prompt.</param>
/// <param name="Negative">
/// Context of one caption that guidance steers away from; used unless the guidance scale is 1.
/// </param>
public sealed record DenoiserRequest(Evaluation Evaluation, CaptionContext Prompt, CaptionContext Negative);

/// <summary>
/// Evaluates D(x; σ) for several pictures at once, which may be at different steps and guidance scales. A picture
/// takes one row of a forward pass, or two if it is guided. Every pass has the same number of rows, padded if there are
/// fewer requests, so that the kernels that run, and therefore a picture's bits, do not depend on the rest of the
/// batch.
/// </summary>
public sealed class Denoiser : IDisposable
{
    private readonly MicroDiT _network;
    private readonly Edm _edm;
    private readonly int _width;
    private CaptionContext[] _joinedRows = [];
    private CaptionContext? _joined;

    /// <summary>Creates a denoiser. The caller keeps ownership of the network.</summary>
    /// <param name="network">The network F, on the device and in the precision in which it computes.</param>
    /// <param name="edm">Preconditioning.</param>
    /// <param name="width">
    /// Number of rows in a forward pass. It may depend on the model, the shape and the kind of device, but not on the
    /// load.
    /// </param>
    public Denoiser(MicroDiT network, Edm edm, int width)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        (_network, _edm, _width) = (network, edm, width);
    }

    /// <summary>Number of elements in one latent.</summary>
    public int LatentLength => _network.Config.InChannels * _network.Config.InputSize * _network.Config.InputSize;

    /// <summary>D(x; σ) of each request, in order.</summary>
    /// <exception cref="NonFiniteException">A result holds NaN or infinity.</exception>
    public double[][] Evaluate(IReadOnlyList<DenoiserRequest> requests)
    {
        var rows = new List<(Evaluation Evaluation, CaptionContext Caption)>(2 * requests.Count);
        foreach (DenoiserRequest request in requests)
        {
            if (request.Evaluation.X.Length != LatentLength)
            {
                throw new ArgumentException(
                    $"A latent has {request.Evaluation.X.Length} numbers; this network's latents have {LatentLength}.",
                    nameof(requests));
            }

            rows.Add((request.Evaluation, request.Prompt));
            if (request.Evaluation.Guidance != 1)
            {
                rows.Add((request.Evaluation, request.Negative));
            }
        }

        float[] answers = Run(rows);
        var results = new double[requests.Count][];
        for (int i = 0, row = 0; i < requests.Count; i++)
        {
            double guidance = requests[i].Evaluation.Guidance;
            results[i] = guidance == 1
                ? Widen(answers.AsSpan(row * LatentLength, LatentLength))
                : Guide(
                    answers.AsSpan(row * LatentLength, LatentLength),
                    answers.AsSpan((row + 1) * LatentLength, LatentLength), guidance);
            Finite.Check(ModelParts.Denoiser, results[i].AsSpan());
            row += guidance == 1 ? 1 : 2;
        }

        return results;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _joined?.Dispose();
        _joined = null;
        _joinedRows = [];
    }

    private float[] Run(List<(Evaluation Evaluation, CaptionContext Caption)> rows)
    {
        var answers = new float[rows.Count * LatentLength];
        int size = _network.Config.InputSize;
        for (int first = 0; first < rows.Count; first += _width)
        {
            using var noGradients = inference_mode();
            using var scope = NewDisposeScope();
            int used = Math.Min(_width, rows.Count - first);
            var x = new float[_width * LatentLength];
            var sigmas = new double[_width];
            var captions = new CaptionContext[_width];
            for (int slot = 0; slot < _width; slot++)
            {
                // Empty slots repeat the first row: any values would do, and these are known to be finite.
                (Evaluation evaluation, captions[slot]) = rows[first + (slot < used ? slot : 0)];
                sigmas[slot] = (float)evaluation.Sigma;
                for (int i = 0; i < LatentLength; i++)
                {
                    x[(slot * LatentLength) + i] = (float)evaluation.X[i];
                }
            }

            Device device = _network.get_buffer("pos_embed")!.device;
            Tensor latents = tensor(x, [_width, _network.Config.InChannels, size, size]).to(device);
            Tensor denoised = _edm.Denoise(_network, latents, sigmas, Join(captions)).cpu();
            denoised.data<float>().ToArray().AsSpan(0, used * LatentLength).CopyTo(
                answers.AsSpan(first * LatentLength));
        }

        return answers;
    }

    // While one pass holds all requests, every evaluation has the same captions, so the last joined context is reused.
    // If the requests take several passes, each pass joins its own captions.
    private CaptionContext Join(CaptionContext[] captions)
    {
        if (captions.Length == 1)
        {
            return captions[0];
        }

        if (_joined is null || !captions.AsSpan().SequenceEqual(_joinedRows, ReferenceEqualityComparer.Instance))
        {
            _joined?.Dispose();
            _joined = CaptionContext.Join(captions).Detached();
            _joinedRows = captions;
        }

        return _joined;
    }

    private static double[] Widen(ReadOnlySpan<float> row)
    {
        var wide = new double[row.Length];
        for (int i = 0; i < row.Length; i++)
        {
            wide[i] = row[i];
        }

        return wide;
    }

    // Preconditioning is affine in F, so guiding D is the same as guiding F.
    private static double[] Guide(ReadOnlySpan<float> prompt, ReadOnlySpan<float> negative, double guidance)
    {
        var guided = new double[prompt.Length];
        for (int i = 0; i < prompt.Length; i++)
        {
            guided[i] = Guidance.Combine(prompt[i], negative[i], guidance);
        }

        return guided;
    }
}
