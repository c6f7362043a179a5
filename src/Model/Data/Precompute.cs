// The conversion of captioned pictures into training data for the denoising network: float16 latents and caption
// features, in the reference's columns. The data set is computed in parts, in parallel; each part depends only on its
// own pictures. A recipe file beside the parts identifies their inputs, so that a run with other inputs cannot resume
// them.
using System.Globalization;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Data.Mds;
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Model.Randomness;
using static TorchSharp.torch;

namespace Atelier.Model.Data;

/// <summary>
/// The networks gave NaN or infinity for so many pictures that the networks must be at fault. The message names the
/// first of these pictures.
/// </summary>
/// <param name="message">What happened and how to correct it.</param>
public sealed class PrecomputeFailedException(string message) : Exception(message);

/// <summary>
/// Encodes pictures and captions. Latents are drawn from their distribution and multiplied by the scaling factor. The
/// networks compute in their own precision; the reference uses bfloat16 here.
/// </summary>
public sealed class Precompute
{
    /// <summary>Number of samples in a part. A part is written completely or not at all.</summary>
    public const int PartSamples = 4096;

    /// <summary>Name of the file that identifies the inputs of a folder's latents.</summary>
    public const string RecipeFile = "recipe.json";

    /// <summary>
    /// Name of the file that lists the skipped pictures, beside the index; it exists only if pictures were skipped.
    /// </summary>
    public const string SkippedFile = "skipped.json";

    /// <summary>
    /// Name of the file that counts the truncated captions, beside the index; it exists only if captions were
    /// truncated.
    /// </summary>
    public const string CutFile = "cut.json";

    // Maximum number of pictures that an error message names.
    private const int NamedMax = 5;

    private const int CaptionBatch = 64;

    private readonly ICaptionedPictures _pictures;
    private readonly AutoencoderKL _autoencoder;
    private readonly ClipTextTower _text;
    private readonly ClipTokenizer _tokenizer;
    private readonly int[] _sides;
    private readonly ulong _seed;
    private readonly ScalarType _compute;

    /// <summary>Prepares a run; the caller keeps ownership of the networks.</summary>
    /// <param name="pictures">Pictures with captions, safe for concurrent use.</param>
    /// <param name="autoencoder">Encodes pictures.</param>
    /// <param name="text">Encodes captions.</param>
    /// <param name="tokenizer">The text encoder's tokenizer.</param>
    /// <param name="sides">
    /// Sides, in pixels, at which every picture is encoded; each side yields a column latents_SIDE.
    /// </param>
    /// <param name="seed">Seed for drawing latents from their distributions.</param>
    public Precompute(
        ICaptionedPictures pictures, AutoencoderKL autoencoder, ClipTextTower text, ClipTokenizer tokenizer,
        int[] sides, ulong seed)
    {
        (_pictures, _autoencoder, _text, _tokenizer, _sides, _seed) =
            (pictures, autoencoder, text, tokenizer, sides, seed);
        _compute = autoencoder.parameters().First().dtype;
        foreach (int side in sides.Where(side => side <= 0 || side % autoencoder.Config.Factor != 0))
        {
            throw new ArgumentException(
                $"Side {side} is not a multiple of the autoencoder's factor {autoencoder.Config.Factor}.",
                nameof(sides));
        }
    }

    /// <summary>Captions that were truncated for the text encoder; set by <see cref="Run"/>.</summary>
    public CutCaptions Cut { get; private set; } = new(0, []);

    /// <summary>
    /// Maximum number of pictures that may be skipped: one in a hundred. In sets of fewer than a thousand pictures it
    /// is ten, but no more than one in ten.
    /// </summary>
    public static long SkippedMax(long pictures) => Math.Max(pictures / 100, Math.Min(10, pictures / 10));

    /// <summary>
    /// Writes all missing parts, then the index of all parts. A picture whose caption features or latents hold NaN or
    /// infinity, even if only after rounding to float16, is skipped, which does not change the other samples.
    /// </summary>
    /// <param name="folder">Receives one folder per part, and the merged index.</param>
    /// <param name="workers">Number of parts computed at the same time, each by one thread.</param>
    /// <param name="progress">Receives the number of finished samples; called by one thread at a time.</param>
    /// <param name="cancellation">Stops the run after the samples in progress; complete parts are kept.</param>
    /// <returns>The skipped pictures, in order.</returns>
    /// <exception cref="RefusedFileException">
    /// The folder holds latents of other inputs, or of inputs that were not recorded.
    /// </exception>
    /// <exception cref="PrecomputeFailedException">
    /// More pictures than <see cref="SkippedMax"/> allows would be skipped.
    /// </exception>
    public IReadOnlyList<SkippedPicture> Run(
        string folder, int workers, Action<long>? progress, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workers, 1);
        IReadOnlyDictionary<string, string> source = _pictures.Identify(cancellation);
        Directory.CreateDirectory(folder);
        PrecomputeRecipe.Check(folder, source, new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["pictures"] = _pictures.Count.ToString(CultureInfo.InvariantCulture),
            ["seed"] = _seed.ToString(CultureInfo.InvariantCulture),
            ["sizes"] = string.Join(", ", _sides),
            ["precision"] = $"{_compute}",
            ["autoencoder"] = PrecomputeRecipe.Digest(_autoencoder),
            ["text encoder"] = PrecomputeRecipe.Digest(_text),
            ["vocabulary"] = _tokenizer.Digest[..16],
            ["scaling"] = string.Create(
                CultureInfo.InvariantCulture,
                $"{_autoencoder.Config.ScalingFactor:r}, shift {_autoencoder.Config.ShiftFactor:r}"),
        });
        if (File.Exists(Path.Combine(folder, MdsIndex.FileName)))
        {
            progress?.Invoke(_pictures.Count);
            Cut = PrecomputeNotes.ReadCut(folder);
            return PrecomputeNotes.ReadSkipped(folder);
        }

        int parts = (int)((_pictures.Count + PartSamples - 1) / PartSamples);
        int next = -1;
        (long done, Exception? failure) = (0, null);
        var skipped = new List<SkippedPicture>();
        var gate = new Lock();
        Thread[] threads = [.. Enumerable.Range(0, workers).Select(_ => new Thread(Work) { Name = "precompute" })];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        if (failure is not null)
        {
            ExceptionDispatchInfo.Throw(failure);
        }

        SkippedPicture[] all = [.. skipped.OrderBy(picture => picture.Picture)];
        PrecomputeNotes.WriteSkipped(folder, all);
        Cut = Enumerable.Range(0, parts).Select(part => PrecomputeNotes.ReadCut(PartOf(folder, part)))
            .Aggregate(new CutCaptions(0, []), (sum, part) => sum.With(part));
        PrecomputeNotes.WriteCut(folder, Cut);
        MdsIndex.Merge(folder);
        return all;

        void Work()
        {
            // One libtorch thread per worker, because threads that share a picture wait for each other, and workers do
            // not.
            set_num_threads(1);
            try
            {
                for (int part = Interlocked.Increment(ref next); part < parts; part = Interlocked.Increment(ref next))
                {
                    MakePart(folder, part, Count, Skip, () => failure is not null, cancellation);
                }
            }
            catch (Exception error)
            {
                lock (gate)
                {
                    failure ??= error;
                }
            }
        }

        void Count(int samples)
        {
            lock (gate)
            {
                done += samples;
                progress?.Invoke(done);
            }
        }

        void Skip(IReadOnlyList<SkippedPicture> pictures)
        {
            lock (gate)
            {
                skipped.AddRange(pictures);
                if (skipped.Count > SkippedMax(_pictures.Count))
                {
                    throw new PrecomputeFailedException(TooMany(skipped));
                }
            }
        }
    }

    private string TooMany(List<SkippedPicture> skipped)
    {
        IEnumerable<string> first = skipped.OrderBy(picture => picture.Picture).Take(NamedMax)
            .Select(picture => $"{picture.Column} of picture {picture.Picture} holds {picture.Value}");
        return string.Create(
            CultureInfo.InvariantCulture,
            $"The networks gave NaN or infinity for {skipped.Count} of {_pictures.Count} pictures, more than the "
            + $"{SkippedMax(_pictures.Count)} that may be skipped: {string.Join("; ", first)}. The networks' "
            + $"weights are damaged, or {_compute} is too narrow for them; these latents cannot be used for training.");
    }

    private static string PartOf(string folder, int part) =>
        Path.Combine(folder, part.ToString("d5", CultureInfo.InvariantCulture));

    private void MakePart(
        string folder, int part, Action<int> progress, Action<IReadOnlyList<SkippedPicture>> skip, Func<bool> isFailed,
        CancellationToken cancellation)
    {
        string path = PartOf(folder, part);
        long first = (long)part * PartSamples, end = Math.Min(_pictures.Count, first + PartSamples);
        if (File.Exists(Path.Combine(path, MdsIndex.FileName)))
        {
            progress((int)(end - first));
            skip(PrecomputeNotes.ReadSkipped(path));
            return;
        }

        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true); // An interrupted run left it.
        }

        var columns = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["caption"] = "str", ["caption_latents"] = "bytes",
        };
        foreach (int side in _sides)
        {
            columns[Column(side)] = "bytes";
        }

        var writer = new MdsWriter(path, columns, new MdsWriteOptions { SizeLimit = 256 << 20, Hashes = ["sha256"] });
        var skipped = new List<SkippedPicture>();
        var cut = new CutCaptions(0, []);
        for (long start = first; start < end && !isFailed(); start += CaptionBatch)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(CaptionBatch, end - start);
            int known = skipped.Count;
            cut = cut.With(Write(writer, start, count, skipped));
            skip(skipped[known..]);
            progress(count);
        }

        if (!isFailed())
        {
            PrecomputeNotes.WriteSkipped(path, skipped); // Written before the index, which marks the part as complete.
            PrecomputeNotes.WriteCut(path, cut);
            writer.Complete();
        }
    }

    private CutCaptions Write(MdsWriter writer, long first, int count, List<SkippedPicture> skipped)
    {
        using var noGradients = inference_mode();
        using var scope = NewDisposeScope();
        string[] captions = [.. Enumerable.Range(0, count).Select(i => _pictures.Caption(first + i))];
        byte[][] features = EncodeCaptions(captions);
        for (int i = 0; i < count; i++)
        {
            var sample = new Dictionary<string, object>(StringComparer.Ordinal)
            {
                ["caption"] = captions[i],
                ["caption_latents"] = (ReadOnlyMemory<byte>)features[i],
            };
            SkippedPicture? fault = Fault(first + i, "caption_latents", features[i]);
            foreach (int side in _sides.TakeWhile(_ => fault is null))
            {
                byte[] latents = EncodePicture(_pictures.Picture(first + i, side), first + i);
                fault = Fault(first + i, Column(side), latents);
                sample[Column(side)] = (ReadOnlyMemory<byte>)latents;
            }

            if (fault is null)
            {
                writer.Write(sample);
            }
            else
            {
                skipped.Add(fault);
            }
        }

        return CutCaptions.Of(_tokenizer, first, captions);
    }

    private static SkippedPicture? Fault(long picture, string column, byte[] halves)
    {
        ReadOnlySpan<Half> numbers = MemoryMarshal.Cast<byte, Half>(halves);
        return Finite.IndexOfFault(numbers) is >= 0 and var at
            ? new SkippedPicture(picture, column, Finite.Name((double)numbers[at])) : null;
    }

    private byte[][] EncodeCaptions(string[] captions)
    {
        int length = _text.Config.Text.ContextLength;
        long[] ids = [.. captions.SelectMany(_tokenizer.Encode).Select(id => (long)id)];
        // [B, L, D]
        Tensor hidden = _text.Encode(tensor(ids, [captions.Length, length])).to(ScalarType.Float16).contiguous();
        byte[] all = hidden.bytes.ToArray();
        return [.. all.Chunk(all.Length / captions.Length)];
    }

    private byte[] EncodePicture(RgbImage image, long index)
    {
        using var scope = NewDisposeScope();
        Tensor pixels = tensor(image.Pixels, [1, image.Height, image.Width, 3]).to(ScalarType.Float32)
            .permute(0, 3, 1, 2).div(127.5).sub(1).contiguous(); // [1, 3, H, W]
        using LatentDistribution encoded = _autoencoder.Encode(pixels.to(_compute));
        using var latents = new LatentDistribution(
            encoded.Mean.to(ScalarType.Float32), encoded.LogVariance.to(ScalarType.Float32));
        var noise = new float[latents.Mean.numel()];
        SeededNoise.Normal(_seed, NoisePurpose.LatentSample, index, noise);
        Tensor drawn = latents.Sample(tensor(noise, latents.Mean.shape)); // [1, C, h, w]
        Tensor scaled = (drawn - _autoencoder.Config.ShiftFactor) * _autoencoder.Config.ScalingFactor;
        return scaled.to(ScalarType.Float16).contiguous().bytes.ToArray();
    }

    private static string Column(int side) => $"latents_{side.ToString(CultureInfo.InvariantCulture)}";
}
