// Scores of sets of pictures from any source: Fréchet inception distance and CLIP score.
using Atelier.Model.Clip;
using Atelier.Model.Data;
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Model.Evaluation;

/// <summary>Computes the scores that published evaluations report.</summary>
public static class PictureScores
{
    private const int Batch = 16;

    /// <summary>
    /// The Fréchet inception distance (Heusel et al., arXiv 1706.08500) between two sets of pictures. The distance
    /// decreases as the number of pictures grows; 10,000 or more are usual.
    /// </summary>
    /// <param name="inception">Path of the published weights, such as pt_inception-2015-12-05-6726825d.pth.</param>
    /// <param name="first">Pictures.</param>
    /// <param name="second">Reference pictures.</param>
    /// <param name="progress">Receives the number of pictures processed.</param>
    /// <param name="cancellation">Checked between pictures.</param>
    /// <exception cref="RefusedFileException">A file is refused.</exception>
    /// <exception cref="NonFiniteException">The network gives NaN or infinity.</exception>
    public static double FrechetInception(
        string inception, IEnumerable<RgbImage> first, IEnumerable<RgbImage> second, Action<int>? progress = null,
        CancellationToken cancellation = default)
    {
        using var network = new FidInceptionV3();
        using (IWeightSource source = WeightFile.Open(inception).FindModel("inception"))
        {
            StrictLoader.Load(
                network, source, rename: name => FidInceptionV3.IsOptional(name) ? null : name, checkFinite: true);
        }

        int seen = 0;
        using FeatureStatistics left = Statistics(first), right = Statistics(second);
        return Frechet.Distance(left, right);

        FeatureStatistics Statistics(IEnumerable<RgbImage> pictures)
        {
            var statistics = new FeatureStatistics(2048);
            using var noGradients = inference_mode();
            foreach (RgbImage picture in pictures)
            {
                cancellation.ThrowIfCancellationRequested();
                using var scope = NewDisposeScope();
                Tensor pixels = tensor(picture.Pixels, [1, picture.Height, picture.Width, 3])
                    .permute(0, 3, 1, 2).to(ScalarType.Float32).div(255).contiguous();                  // [1, 3, H, W]
                statistics.Add(Finite.Check("Inception network", network.call(pixels)));
                progress?.Invoke(++seen);
            }

            return statistics;
        }
    }

    /// <summary>
    /// CLIP score of pictures by the text encoder of a model, whose file must hold the image encoder, too.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="pictures">Pictures and captions.</param>
    /// <param name="progress">Receives the number of pictures processed.</param>
    /// <param name="cancellation">Checked between batches.</param>
    /// <returns>The score, and the captions that the text tower read only in part.</returns>
    /// <exception cref="NonFiniteException">A tower gives NaN or infinity.</exception>
    /// <exception cref="RefusedFileException">The file holds no image encoder, or is damaged.</exception>
    public static (double Score, CutCaptions Cut) Clip(
        ModelFolder model, ICaptionedPictures pictures, Action<int>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        var tokenizer = ClipTokenizer.Load(model.PathOf(model.Vocabulary), model.ClipConfig.Text.ContextLength);
        using var clip = new ClipModel(model.ClipConfig);
        using (IWeightSource source = WeightFile.Open(model.PathOf(model.TextEncoder)))
        {
            StrictLoader.Load(clip, source);
        }

        return Clip(clip, tokenizer, pictures, progress, cancellation);
    }

    /// <summary>
    /// CLIP score (Hessel et al., arXiv 2104.08718): the mean of 100 max(cosine, 0) over all pictures, where cosine is
    /// the cosine similarity between the features of a picture and of its caption.
    /// </summary>
    /// <param name="clip">CLIP model with both towers.</param>
    /// <param name="tokenizer">The text tower's tokenizer.</param>
    /// <param name="pictures">Pictures and captions.</param>
    /// <param name="progress">Receives the number of pictures processed.</param>
    /// <param name="cancellation">Checked between batches.</param>
    /// <returns>The score, and the captions that the text tower read only in part.</returns>
    /// <exception cref="NonFiniteException">A tower gives NaN or infinity.</exception>
    public static (double Score, CutCaptions Cut) Clip(
        ClipModel clip, ClipTokenizer tokenizer, ICaptionedPictures pictures, Action<int>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(clip);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(pictures);
        int side = clip.Config.Vision.ImageSize;
        double sum = 0;
        var cut = new CutCaptions(0, []);
        for (long first = 0; first < pictures.Count; first += Batch)
        {
            cancellation.ThrowIfCancellationRequested();
            using var noGradients = inference_mode();
            using var scope = NewDisposeScope();
            long[] batch =
                [.. Enumerable.Range(0, (int)Math.Min(Batch, pictures.Count - first)).Select(i => first + i)];
            float[] pixels = [.. batch.SelectMany(i => ClipPreprocess.Run(pictures.Picture(i, side), side))];
            string[] captions = [.. batch.Select(pictures.Caption)];
            long[] ids = [.. captions.SelectMany(tokenizer.Encode).Select(id => (long)id)];
            cut = cut.With(CutCaptions.Of(tokenizer, first, captions));
            Tensor image = Finite.Check(
                "image encoder", clip.EncodeImage(tensor(pixels, [batch.Length, 3, side, side])));          // [B, E]
            Tensor text = Finite.Check(
                ModelParts.TextEncoder,
                clip.EncodeText(tensor(ids, [batch.Length, tokenizer.ContextLength])));                     // [B, E]
            sum += ClipModel.Score(image, text).diagonal().clamp_min(0).sum().item<float>();
            progress?.Invoke((int)first + batch.Length);
        }

        return (sum / pictures.Count, cut);
    }
}
