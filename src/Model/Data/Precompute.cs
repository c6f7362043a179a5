// Turns captioned pictures into what the denoising network is trained on: latents and caption features, float16, in the
// reference's columns. Parts are made side by side; each is a function of its numbers alone. A note beside them says what they
// are of, so that no other run goes on with them.
using System.Globalization;
using System.Runtime.ExceptionServices;
using System.Security.Cryptography;
using System.Text.Json;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using static TorchSharp.torch;

namespace Atelier.Model.Data;

/// <summary>
/// Encodes pictures and captions. Latents are drawn from their distribution and multiplied by the scaling factor. The
/// networks compute in their own precision; the reference's are bfloat16 here.
/// </summary>
public sealed class Precompute
{
    /// <summary>Samples of one part, which is written whole or not at all.</summary>
    public const int PartSamples = 4096;

    /// <summary>Name of the note of what a folder's latents are of.</summary>
    public const string RecipeFile = "recipe.json";

    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true };
    private const int CaptionBatch = 64;

    private readonly ICaptionedPictures _pictures;
    private readonly AutoencoderKL _autoencoder;
    private readonly ClipTextTower _text;
    private readonly ClipTokenizer _tokenizer;
    private readonly int[] _sides;
    private readonly ulong _seed;
    private readonly ScalarType _compute;

    /// <summary>Prepares; the networks stay the caller's.</summary>
    /// <param name="pictures">Pictures with captions, for any number of threads.</param>
    /// <param name="autoencoder">Encodes pictures.</param>
    /// <param name="text">Encodes captions.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="sides">Sides at which every picture is encoded; each makes a column latents_SIDE.</param>
    /// <param name="seed">Seed of the draws from the latents' distributions.</param>
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
                $"Side {side} is no multiple of the autoencoder's {autoencoder.Config.Factor}.", nameof(sides));
        }
    }

    /// <summary>Writes all parts that are not there yet, then the index over them.</summary>
    /// <param name="folder">Receives a folder a part, and the merged index.</param>
    /// <param name="workers">Parts that are made at the same time, each by one thread.</param>
    /// <param name="progress">Told the number of samples done; by one thread at a time.</param>
    /// <param name="cancellation">Ends after the samples in flight; parts that are complete stay.</param>
    /// <exception cref="RefusedFileException">The folder holds latents of something else, or of what nobody noted.</exception>
    public void Run(string folder, int workers, Action<long>? progress, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workers, 1);
        Directory.CreateDirectory(folder);
        CheckRecipe(folder);
        if (File.Exists(Path.Combine(folder, MdsIndex.FileName)))
        {
            progress?.Invoke(_pictures.Count);
            return;
        }

        int parts = (int)((_pictures.Count + PartSamples - 1) / PartSamples);
        int next = -1;
        (long done, Exception? failure) = (0, null);
        var gate = new Lock();
        Thread[] threads = [.. Enumerable.Range(0, workers).Select(_ => new Thread(Work) { Name = "precompute" })];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        if (failure is not null)
        {
            ExceptionDispatchInfo.Throw(failure);
        }

        MdsIndex.Merge(folder);

        void Work()
        {
            // One thread of libtorch each: threads of one picture wait for each other, pictures do not.
            set_num_threads(1);
            try
            {
                for (int part = Interlocked.Increment(ref next); part < parts; part = Interlocked.Increment(ref next))
                {
                    MakePart(folder, part, Tell, () => failure is not null, cancellation);
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

        void Tell(int samples)
        {
            lock (gate)
            {
                done += samples;
                progress?.Invoke(done);
            }
        }
    }

    // What was begun with another source, seed, precision, size or model is not gone on with.
    private void CheckRecipe(string folder)
    {
        var recipe = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["pictures"] = _pictures.Count.ToString(CultureInfo.InvariantCulture),
            ["source"] = _pictures.Identity,
            ["seed"] = _seed.ToString(CultureInfo.InvariantCulture),
            ["sizes"] = string.Join(", ", _sides),
            ["precision"] = $"{_compute}",
            ["autoencoder"] = Digest(_autoencoder),
            ["text encoder"] = Digest(_text),
        };
        string path = Path.Combine(folder, RecipeFile);
        if (!File.Exists(path))
        {
            if (Directory.EnumerateFileSystemEntries(folder).Any())
            {
                throw new RefusedFileException(
                    folder, RecipeFile, "is not there, but other files are; latents need a folder of their own.");
            }

            File.WriteAllText(path + ".part", JsonSerializer.Serialize(recipe, s_readable) + "\n");
            File.Move(path + ".part", path, overwrite: true);
            return;
        }

        SortedDictionary<string, string> begun;
        try
        {
            begun = JsonSerializer.Deserialize<SortedDictionary<string, string>>(File.ReadAllText(path)) ?? [];
        }
        catch (JsonException error)
        {
            throw new RefusedFileException(path, "line 1", "is no JSON object of texts.", error);
        }

        foreach ((string what, string now) in recipe.Where(pair => begun.GetValueOrDefault(pair.Key) != pair.Value))
        {
            throw new RefusedFileException(
                path, what,
                $"is {now} now; these latents were begun with {begun.GetValueOrDefault(what, "none")}. Name another folder, or remove this one.");
        }
    }

    private static string Digest(TorchSharp.torch.nn.Module network)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((_, TorchSharp.Modules.Parameter parameter) in network.named_parameters().OrderBy(pair => pair.name, StringComparer.Ordinal))
        {
            using Tensor local = parameter.detach().cpu().contiguous();
            hash.AppendData(local.bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }

    private void MakePart(
        string folder, int part, Action<int> progress, Func<bool> isFailed, CancellationToken cancellation)
    {
        string path = Path.Combine(folder, part.ToString("d5", CultureInfo.InvariantCulture));
        long first = (long)part * PartSamples, end = Math.Min(_pictures.Count, first + PartSamples);
        if (File.Exists(Path.Combine(path, MdsIndex.FileName)))
        {
            progress((int)(end - first));
            return;
        }

        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true); // What an interrupted run left.
        }

        var columns = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["caption"] = "str", ["caption_latents"] = "bytes",
        };
        foreach (int side in _sides)
        {
            columns[Column(side)] = "bytes";
        }

        var writer = new MdsWriter(path, columns, new MdsWriteOptions { SizeLimit = 256 << 20 });
        for (long start = first; start < end && !isFailed(); start += CaptionBatch)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = (int)Math.Min(CaptionBatch, end - start);
            Write(writer, start, count);
            progress(count);
        }

        if (!isFailed())
        {
            writer.Complete();
        }
    }

    private void Write(MdsWriter writer, long first, int count)
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
            foreach (int side in _sides)
            {
                sample[Column(side)] = (ReadOnlyMemory<byte>)EncodePicture(
                    _pictures.Picture(first + i, side), first + i);
            }

            writer.Write(sample);
        }
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
