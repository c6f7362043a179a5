// Precomputed latents and caption features as training samples.
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Atelier.Model.Data.Caching;
using Atelier.Model.Data.Mds;
using Atelier.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// A concatenation of MDS data sets with the reference's columns: float16 latents and caption features.
/// </summary>
public sealed class LatentData : ITrainingData, IDisposable
{
    private const string CaptionColumn = "caption_latents";

    private readonly MdsDataset[] _sets;
    private readonly IReadOnlyList<string> _names;
    private readonly long[] _ends;
    private readonly string _latentColumn;

    /// <summary>Opens data sets in folders; otherwise like the other constructor.</summary>
    /// <exception cref="RefusedFileException">
    /// A data set is missing, damaged, empty or of the wrong resolution.
    /// </exception>
    public LatentData(
        IReadOnlyList<string> folders, string latentColumn, (int Channels, int Height, int Width) latent,
        (int Length, int Channels) caption)
        : this(
            [.. folders.Select(new FolderDataSets().Open)], folders, [], latentColumn, latent, caption)
    {
    }

    /// <summary>
    /// Concatenates data sets and checks that their first samples have the expected sizes; the other samples are
    /// checked when they are read.
    /// </summary>
    /// <param name="sets">The data sets, which are disposed with this object.</param>
    /// <param name="names">Their names, for messages.</param>
    /// <param name="shares">The part of each in an epoch; empty if every sample occurs once.</param>
    /// <param name="latentColumn">Column of the latents.</param>
    /// <param name="latent">Shape of a latent.</param>
    /// <param name="caption">Shape of a caption's features.</param>
    /// <exception cref="RefusedFileException">A data set is empty or of the wrong resolution.</exception>
    /// <exception cref="ArgumentException">An epoch cannot have these parts.</exception>
    public LatentData(
        IReadOnlyList<MdsDataset> sets, IReadOnlyList<string> names, IReadOnlyList<StreamShare> shares,
        string latentColumn, (int Channels, int Height, int Width) latent, (int Length, int Channels) caption)
    {
        (_names, _latentColumn, LatentShape, CaptionShape) = (names, latentColumn, latent, caption);
        _sets = [.. sets];
        _ends = new long[_sets.Length];
        long end = 0;
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (int i = 0; i < _sets.Length; i++)
        {
            _ends[i] = end += _sets[i].Count;
            Check(_sets[i], names[i]);
            digest.AppendData(Convert.FromHexString(_sets[i].Index.Digest));
        }

        Digest = Convert.ToHexStringLower(digest.GetHashAndReset());
        Count = end <= int.MaxValue
            ? (int)end
            : throw new RefusedFileException(
                names[^1], "samples", $"are {end} in total; the maximum is {int.MaxValue}.");
        int[] counts = [.. _sets.Select(set => (int)set.Count)];
        Mix = shares.Count == 0 ? StreamMix.Plain(counts) : StreamMix.Of(counts, shares);
    }

    /// <summary>Opens the data sets of a stage, which are in folders.</summary>
    /// <exception cref="RefusedFileException">
    /// A data set is missing, damaged, empty or of the wrong resolution.
    /// </exception>
    public static LatentData Of(StageConfig stage) =>
        Of(stage, [.. stage.DataFolders.Select(new FolderDataSets().Open)]);

    /// <summary>Opens the data sets of a stage.</summary>
    /// <param name="stage">The stage.</param>
    /// <param name="sets">Opens a data set.</param>
    /// <param name="cancellation">Cancels the opening.</param>
    /// <exception cref="IOException">
    /// A data set is missing, damaged, empty or of the wrong resolution, or its store does not answer.
    /// </exception>
    public static async Task<LatentData> OpenAsync(
        StageConfig stage, IDataSets sets, CancellationToken cancellation)
    {
        var open = new List<MdsDataset>();
        try
        {
            foreach (string entry in stage.DataFolders)
            {
                open.Add(await sets.OpenAsync(entry, cancellation));
            }

            return Of(stage, open);
        }
        catch
        {
            open.ForEach(set => set.Dispose());
            throw;
        }
    }

    private static LatentData Of(StageConfig stage, IReadOnlyList<MdsDataset> sets) => new(
        sets, stage.DataFolders, stage.Shares, stage.LatentColumn,
        (stage.Network.InChannels, stage.Network.InputSize, stage.Network.InputSize),
        (stage.CaptionLength, stage.Network.CaptionChannels));

    /// <inheritdoc/>
    public int Count { get; }

    /// <inheritdoc/>
    public StreamMix Mix { get; }

    /// <summary>The data sets in order, each with its samples' indices in the concatenation.</summary>
    public IReadOnlyList<DataStream> Streams =>
        [.. _sets.Select((set, i) => new DataStream(_names[i], (int)(_ends[i] - set.Count), (int)set.Count))];

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
        return $"{_names[set]}: sample {number.ToString(CultureInfo.InvariantCulture)}";
    }

    /// <inheritdoc/>
    public void Foresee(IEnumerable<int> samples)
    {
        if (!_sets.Any(set => set.IsFetched))
        {
            return;
        }

        List<ShardAhead>[] ahead = [.. _sets.Select(_ => new List<ShardAhead>())];
        var seen = new HashSet<(int Set, int Shard)>();
        long distance = 0;
        foreach (int sample in samples)
        {
            (int set, long number) = Find(sample);
            int shard = _sets[set].ShardOf(number);
            if (seen.Add((set, shard)))
            {
                ahead[set].Add(new ShardAhead(shard, distance));
            }

            distance++;
        }

        for (int i = 0; i < _sets.Length; i++)
        {
            _sets[i].Foresee(ahead[i]);
        }
    }

    /// <inheritdoc/>
    /// <exception cref="RefusedFileException">
    /// The sample differs in size from the first one, or its file cannot be read.
    /// </exception>
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
                    _names[set], $"{column} of sample {number}",
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
