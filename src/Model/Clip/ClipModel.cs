// Both towers of CLIP and the similarity between their features (Radford et al., arXiv 2103.00020).
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Clip;

/// <summary>
/// A text tower, an image tower and the scale of the similarity between their features. Symbols: I pictures, T texts,
/// E = EmbedDim.
/// </summary>
public sealed class ClipModel : ClipTextTower
{
    [ComponentName(Name = "visual")] private readonly ClipImageEncoder _visual;
    [ComponentName(Name = "logit_scale")] private readonly Parameter _logitScale;

    /// <summary>Allocates the model. Its weights are undefined until they are loaded.</summary>
    /// <exception cref="ArgumentException">The configuration is not valid; the message says why.</exception>
    public ClipModel(ClipConfig config) : base(config, nameof(ClipModel))
    {
        _visual = new ClipImageEncoder(config);
        _logitScale = new Parameter(empty([]));
        RegisterComponents();
    }

    /// <summary>The image tower.</summary>
    public ClipImageEncoder Visual => _visual;

    /// <summary>
    /// Pooled features of texts: <see cref="ClipTextTower.Encode"/>, then <see cref="ClipTextTower.Pool"/>.
    /// </summary>
    /// <param name="ids">[T, 77] int64.</param>
    /// <returns>[T, E], not normalized.</returns>
    public Tensor EncodeText(Tensor ids)
    {
        using Tensor hidden = Encode(ids);
        return Pool(hidden, ids);
    }

    /// <summary>Features of pictures.</summary>
    /// <param name="image">[I, 3, S, S], resized and normalized.</param>
    /// <returns>[I, E], not normalized.</returns>
    public Tensor EncodeImage(Tensor image) => _visual.call(image);

    /// <summary>
    /// exp(logit_scale) times the cosine similarity of every picture and every text: the logits of CLIP's training
    /// loss.
    /// </summary>
    /// <param name="imageFeatures">[I, E].</param>
    /// <param name="textFeatures">[T, E].</param>
    /// <returns>[I, T].</returns>
    public Tensor Logits(Tensor imageFeatures, Tensor textFeatures)
    {
        using var scope = NewDisposeScope();
        return Cosine(imageFeatures, textFeatures).mul(_logitScale.exp()).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// CLIP score: 100 times the cosine similarity of every picture and every text; it may be negative.
    /// </summary>
    /// <param name="imageFeatures">[I, E].</param>
    /// <param name="textFeatures">[T, E].</param>
    /// <returns>[I, T].</returns>
    public static Tensor Score(Tensor imageFeatures, Tensor textFeatures)
    {
        using Tensor cosine = Cosine(imageFeatures, textFeatures);
        return cosine.mul(100);
    }

    private static Tensor Cosine(Tensor imageFeatures, Tensor textFeatures)
    {
        using Tensor image = functional.normalize(imageFeatures, p: 2, dim: 1);
        using Tensor text = functional.normalize(textFeatures, p: 2, dim: 1);
        using Tensor transposed = text.t();
        return image.matmul(transposed);
    }
}
