// Sources of pictures with captions.
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Data.Mds;
using Atelier.Model.Imaging;

namespace Atelier.Model.Data.Sources;

/// <summary>
/// A source of captioned pictures, safe for concurrent use. The same index always gives the same picture and caption.
/// </summary>
public interface ICaptionedPictures
{
    /// <summary>Number of pictures.</summary>
    long Count { get; }

    /// <summary>
    /// The identity of this source, as named values: sources with equal values give the same pictures and captions. The
    /// identity covers all bytes, so computing it may take a pass over the whole source.
    /// </summary>
    IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation);

    /// <summary>The caption of a picture, by index.</summary>
    string Caption(long index);

    /// <summary>A picture, cropped and resized to a square of <paramref name="side"/> pixels.</summary>
    RgbImage Picture(long index, int side);
}

/// <summary>Pictures in files: an MDS data set, or a folder of pictures.</summary>
public abstract class StoredPictures : ICaptionedPictures, IDisposable
{
    /// <inheritdoc/>
    public abstract long Count { get; }

    /// <summary>Where the pictures and captions come from, as a description for people.</summary>
    public abstract string Taken { get; }

    /// <summary>Files and folders in the folder that are ignored.</summary>
    public virtual PassedOver PassedOver => PassedOver.Nothing;

    /// <summary>Opens an MDS data set, or a folder of pictures with a caption beside each.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="columns">The columns of a data set; null to detect them.</param>
    /// <param name="withCaptions">Whether captions are required.</param>
    /// <exception cref="RefusedFileException">
    /// There are no pictures or no captions, their column is ambiguous, or a column is given for a plain folder.
    /// </exception>
    public static StoredPictures Open(string folder, PictureColumns? columns = null, bool withCaptions = true)
    {
        if (IsDataSet(folder))
        {
            return new MdsPictures(folder, columns, withCaptions);
        }

        return columns is null or { Caption: null, Picture: null }
            ? new FolderPictures(folder, withCaptions)
            : throw new RefusedFileException(
                folder, "columns",
                "exist only in MDS data sets, and this folder is not one, so it has no column "
                + $"{columns.Caption ?? columns.Picture}.");
    }

    /// <inheritdoc/>
    public abstract IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation);

    /// <inheritdoc/>
    public abstract string Caption(long index);

    /// <summary>A picture in its stored size, by index.</summary>
    public abstract RgbImage Picture(long index);

    /// <inheritdoc/>
    public RgbImage Picture(long index, int side) => SquareCrop.Run(Picture(index), side);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes files.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    // Shards without an index are treated as a data set, so that its reader reports the missing index.
    private static bool IsDataSet(string folder) => File.Exists(Path.Combine(folder, MdsIndex.FileName))
        || (Directory.Exists(folder) && Directory.EnumerateFiles(folder, "shard.*").Any());
}

/// <summary>Files and folders that are ignored in a folder of pictures.</summary>
/// <param name="Count">Number of these files and folders.</param>
/// <param name="First">Names of the first files and folders; the names of folders end in a slash.</param>
public sealed record PassedOver(int Count, IReadOnlyList<string> First)
{
    private const int NamedMax = 5;

    /// <summary>No files or folders are ignored.</summary>
    public static PassedOver Nothing { get; } = new(0, []);

    internal static PassedOver Of(IReadOnlyList<string> names) => new(names.Count, [.. names.Take(NamedMax)]);

    /// <summary>The count and the first names, as text for messages.</summary>
    public override string ToString() =>
        $"{Count} ({string.Join(", ", First)}{(Count > First.Count ? ", ..." : "")})";
}

/// <summary>Digests that identify data.</summary>
internal static class DataDigest
{
    private const int BytesShown = 16;

    /// <summary>Digest of names and their contents, encoded without ambiguity.</summary>
    public static string Of(IEnumerable<(string Name, byte[] Content)> parts)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string name, byte[] content) in parts)
        {
            byte[] text = Encoding.UTF8.GetBytes(name);
            hash.AppendData(BitConverter.GetBytes(text.Length));
            hash.AppendData(text);
            hash.AppendData(BitConverter.GetBytes(content.Length));
            hash.AppendData(content);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, BytesShown));
    }

    /// <summary>Digests of files, read in parallel.</summary>
    public static byte[][] OfFiles(IReadOnlyList<string> paths, CancellationToken cancellation)
    {
        var digests = new byte[paths.Count][];
        Parallel.For(0, digests.Length, new ParallelOptions { CancellationToken = cancellation }, i =>
        {
            using FileStream file = File.OpenRead(paths[i]);
            digests[i] = SHA256.HashData(file);
        });
        return digests;
    }
}

/// <summary>The largest centered square of a picture, resized.</summary>
public static class SquareCrop
{
    /// <summary>Crops, then resizes with antialiased bicubic filtering.</summary>
    public static RgbImage Run(RgbImage image, int side)
    {
        int square = Math.Min(image.Width, image.Height), left = (image.Width - square) / 2,
            top = (image.Height - square) / 2;
        var pixels = new byte[square * square * 3];
        for (int row = 0; row < square; row++)
        {
            image.Pixels.AsSpan((((top + row) * image.Width) + left) * 3, square * 3).CopyTo(
                pixels.AsSpan(row * square * 3));
        }

        return square == side
            ? new RgbImage(side, side, pixels)
            : new RgbImage(side, side, ImageResize.Bicubic(pixels, square, square, side, side));
    }
}
