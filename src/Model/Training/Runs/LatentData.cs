// Precomputed latents and caption features as training samples.
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Atelier.Model.Data.Mds;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// A concatenation of MDS data sets with the reference's columns: float16 latents and caption features.
/// </summary>
public sealed class LatentData : ITrainingData, IDisposable
{
    private const string CaptionColumn = "caption_latents";

    private readonly MdsDataset[] _sets;
    private readonly long[] _ends;
    private readonly string _latentColumn;

    /// <summary>
    /// Opens data sets and checks that their first samples have the expected sizes; the other samples are checked when
    /// they are read.
    /// </summary>
    /// <exception cref="RefusedFileException">
    /// A data set is missing, damaged, empty or of the wrong resolution.
    /// </exception>
    public LatentData(
        IReadOnlyList<string> folders, string latentColumn, (int Channels, int Height, int Width) latent,
        (int Length, int Channels) caption)
    {
        (_latentColumn, LatentShape, CaptionShape) = (latentColumn, latent, caption);
        _sets = new MdsDataset[folders.Count];
        _ends = new long[folders.Count];
        long end = 0;
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (int i = 0; i < folders.Count; i++)
        {
            _sets[i] = new MdsDataset(folders[i]);
            _ends[i] = end += _sets[i].Count;
            Check(_sets[i], folders[i]);
            using FileStream index = File.OpenRead(Path.Combine(folders[i], MdsIndex.FileName));
            digest.AppendData(SHA256.HashData(index));
        }

        Digest = Convert.ToHexStringLower(digest.GetHashAndReset());
        Count = end <= int.MaxValue
            ? (int)end
            : throw new RefusedFileException(
                folders[^1], "samples", $"are {end} in total; the maximum is {int.MaxValue}.");
    }

    /// <summary>Opens the data sets of a stage.</summary>
    /// <exception cref="RefusedFileException">
    /// A data set is missing, damaged, empty or of the wrong resolution.
    /// </exception>
    public static LatentData Of(StageConfig stage) => new(
        stage.DataFolders, stage.LatentColumn,
        (stage.Network.InChannels, stage.Network.InputSize, stage.Network.InputSize),
        (stage.CaptionLength, stage.Network.CaptionChannels));

    /// <inheritdoc/>
    public int Count { get; }

    /// <summary>SHA-256 of the joined SHA-256 digests of the data sets' index files, in order.</summary>
    public string Digest { get; }

    /// <inheritdoc/>
    public (int Channels, int Height, int Width) LatentShape { get; }

    /// <inheritdoc/>
    public (int Length, int Channels) CaptionShape { get; }

    /// <inheritdoc/>
    public (string Latents, string Captions) Columns => (_latentColumn, CaptionColumn);

    /// <inheritdoc/>
    public string Place(int sample)
    {
        (int set, long number) = Find(sample);
        return $"{_sets[set].Index.Directory}: sample {number.ToString(CultureInfo.InvariantCulture)}";
    }

    /// <inheritdoc/>
    /// <exception cref="RefusedFileException">The sample differs in size from the first one.</exception>
    public void Read(int sample, Span<float> latent, Span<float> caption)
    {
        (int set, long number) = Find(sample);
        MdsSample read = _sets[set].Read(number, CaptionColumn, _latentColumn);
        Widen(_latentColumn, latent);
        Widen(CaptionColumn, caption);

        void Widen(string column, Span<float> destination)
        {
            ReadOnlySpan<Half> halves = MemoryMarshal.Cast<byte, Half>(read.Bytes(column).Span);
            if (halves.Length != destination.Length)
            {
                throw new RefusedFileException(
                    _sets[set].Index.Directory, $"{column} of sample {number}",
                    $"has {halves.Length} numbers, but the first sample has {destination.Length}.");
            }

            for (int i = 0; i < destination.Length; i++)
            {
                destination[i] = (float)halves[i];
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (MdsDataset set in _sets)
        {
            set.Dispose();
        }
    }

    private (int Set, long Number) Find(int sample)
    {
        int set = 0;
        while (sample >= _ends[set])
        {
            set++;
        }

        return (set, sample - (set == 0 ? 0 : _ends[set - 1]));
    }

    private void Check(MdsDataset set, string folder)
    {
        if (set.Count == 0)
        {
            throw new RefusedFileException(folder, "samples", "there are none.");
        }

        foreach (string column in new[] { CaptionColumn, _latentColumn }
            .Where(name => set.Index.Columns.All(c => c.Name != name)))
        {
            throw new RefusedFileException(
                folder, column,
                $"is not a column of this data set; it has "
                + $"{string.Join(", ", set.Index.Columns.Select(c => c.Name))}.");
        }

        MdsSample first = set.Read(0, CaptionColumn, _latentColumn);
        int latent = 2 * LatentShape.Channels * LatentShape.Height * LatentShape.Width,
            caption = 2 * CaptionShape.Length * CaptionShape.Channels;
        if (first.Bytes(_latentColumn).Length != latent)
        {
            throw new RefusedFileException(
                folder, _latentColumn,
                $"has {first.Bytes(_latentColumn).Length} bytes per sample; float16 latents of "
                + $"{LatentShape.Channels} x {LatentShape.Height} x {LatentShape.Width} have {latent}.");
        }

        if (first.Bytes(CaptionColumn).Length != caption)
        {
            throw new RefusedFileException(
                folder, CaptionColumn,
                $"has {first.Bytes(CaptionColumn).Length} bytes per sample; float16 captions of "
                + $"{CaptionShape.Length} x {CaptionShape.Channels} have {caption}.");
        }
    }
}
