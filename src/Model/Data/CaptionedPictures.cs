// Pictures with captions, wherever they come from.
using System.Collections.ObjectModel;
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Imaging;
using Atelier.Model.Weights;

namespace Atelier.Model.Data;

/// <summary>
/// A source of captioned pictures, for any number of threads. The same number always gives the same picture and
/// caption.
/// </summary>
public interface ICaptionedPictures
{
    /// <summary>Pictures.</summary>
    long Count { get; }

    /// <summary>What tells this source from others: sources of one identity give the same pictures.</summary>
    string Identity { get; }

    /// <summary>Caption of a picture.</summary>
    string Caption(long index);

    /// <summary>A picture as a square of that side.</summary>
    RgbImage Picture(long index, int side);
}

/// <summary>An MDS data set with a text column and a jpeg or png column.</summary>
public sealed class MdsPictures : ICaptionedPictures, IDisposable
{
    private readonly MdsDataset _data;
    private readonly string _caption;
    private readonly string _picture;

    /// <summary>Opens a data set; columns are found by their encodings if they are not named.</summary>
    /// <exception cref="RefusedFileException">The set has no such columns.</exception>
    public MdsPictures(string folder, string? captionColumn = null, string? pictureColumn = null)
    {
        _data = new MdsDataset(folder);
        _caption = Find(captionColumn, "caption", column => column.Encoding.Name == "str");
        _picture = Find(pictureColumn, "picture", column => column.Encoding.Name is "jpeg" or "png");

        string Find(string? name, string what, Func<MdsColumn, bool> fits) =>
            _data.Index.Columns.FirstOrDefault(c => name is null ? fits(c) : c.Name == name)?.Name
            ?? throw new RefusedFileException(
                folder, $"{what} column",
                $"is not there; the set has "
                + $"{string.Join(", ", _data.Index.Columns.Select(c => $"{c.Name} ({c.Encoding.Name})"))}.");
    }

    /// <inheritdoc/>
    public long Count => _data.Count;

    /// <inheritdoc/>
    public string Identity
    {
        get
        {
            string digest = WeightDigest.OfFile(Path.Combine(_data.Index.Directory, MdsIndex.FileName));
            return $"data set of index {digest[..16]}, {_caption} and {_picture}";
        }
    }

    /// <inheritdoc/>
    public string Caption(long index) => _data.Read(index, _caption).Get<string>(_caption);

    /// <summary>A picture as it is.</summary>
    public RgbImage Picture(long index) => _data.Read(index, _picture).Get<RgbImage>(_picture);

    /// <inheritdoc/>
    public RgbImage Picture(long index, int side) => SquareCrop.Run(Picture(index), side);

    /// <inheritdoc/>
    public void Dispose() => _data.Dispose();
}

/// <summary>A folder of pictures, each with its caption in a text file of the same name.</summary>
public sealed class FolderPictures : ICaptionedPictures
{
    private const int CaptionBytesMax = 1 << 20;

    private static readonly ReadOnlyCollection<string> s_endings = new([".png", ".jpg", ".jpeg", ".webp"]);

    private readonly string[] _pictures;

    /// <summary>Lists a folder.</summary>
    /// <exception cref="RefusedFileException">There is no picture, or one has no caption.</exception>
    public FolderPictures(string folder)
    {
        _pictures = Directory.Exists(folder)
            ? [.. Directory.GetFiles(folder).Where(f => s_endings.Contains(Path.GetExtension(f).ToLowerInvariant()))
                .Order(StringComparer.Ordinal)]
            : throw new RefusedFileException(folder, "folder", "is not there.");
        if (_pictures.Length == 0)
        {
            throw new RefusedFileException(
                folder, "pictures", $"there are none; endings read are {string.Join(", ", s_endings)}.");
        }

        foreach (string missing in _pictures.Select(CaptionPath).Where(path => !File.Exists(path)))
        {
            throw new RefusedFileException(
                missing, "file", "is not there: each picture's caption stands in a text file of its name.");
        }
    }

    /// <inheritdoc/>
    public long Count => _pictures.Length;

    /// <inheritdoc/>
    public string Identity
    {
        get
        {
            string list = string.Join('\n', _pictures.Select(path => $"{Path.GetFileName(path)} {new FileInfo(path).Length}"));
            return $"folder of pictures {Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(list)))[..16]}";
        }
    }

    /// <inheritdoc/>
    public string Caption(long index)
    {
        string path = CaptionPath(_pictures[index]);
        return new FileInfo(path).Length <= CaptionBytesMax
            ? File.ReadAllText(path).Trim()
            : throw new RefusedFileException(path, "length", $"a caption has at most {CaptionBytesMax} bytes.");
    }

    /// <inheritdoc/>
    public RgbImage Picture(long index, int side) =>
        SquareCrop.Run(ImageCodec.Decode(File.ReadAllBytes(_pictures[index]), _pictures[index]), side);

    private static string CaptionPath(string picture) => Path.ChangeExtension(picture, ".txt");
}

/// <summary>The largest centred square of a picture, resized.</summary>
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
