// Pictures as files of a folder, each with its caption in a text file of the same name.
using System.Collections.ObjectModel;
using System.Security.Cryptography;
using System.Text;
using Atelier.Model.Imaging;

namespace Atelier.Model.Data.Sources;

/// <summary>
/// A folder of pictures, turned upright by their EXIF orientation, each with its caption in a text file of the same
/// name. The case of extensions does not matter. Subfolders are not read.
/// </summary>
public sealed class FolderPictures : StoredPictures
{
    private const int CaptionBytesMax = 1 << 20;
    private const string CaptionEnding = ".txt";

    private static readonly ReadOnlyCollection<string> s_endings = new([".png", ".jpg", ".jpeg", ".webp"]);

    private readonly string _folder;
    private readonly string[] _pictures;
    private readonly string[] _captions;

    /// <summary>Lists a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="withCaptions">Whether captions are required.</param>
    /// <exception cref="RefusedFileException">
    /// There are no pictures, or a picture has no caption or more than one.
    /// </exception>
    public FolderPictures(string folder, bool withCaptions = true)
    {
        _folder = folder;
        if (!Directory.Exists(folder))
        {
            throw new RefusedFileException(folder, "folder", "does not exist.");
        }

        string[] files =
            [.. Directory.GetFiles(folder).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];
        _pictures = [.. files.Where(name => s_endings.Contains(EndingOf(name)))];
        ILookup<string, string> texts = files.Where(name => EndingOf(name) == CaptionEnding)
            .ToLookup(name => Path.GetFileNameWithoutExtension(name), StringComparer.Ordinal);
        string[] stems = [.. _pictures.Select(name => Path.GetFileNameWithoutExtension(name))];
        IEnumerable<string> folders = Directory.GetDirectories(folder).Select(path => Path.GetFileName(path) + "/");
        var captioned = stems.ToHashSet(StringComparer.Ordinal);
        PassedOver = PassedOver.Of([
            .. files.Concat(folders).Order(StringComparer.Ordinal).Where(name => !name.StartsWith('.')
                && !s_endings.Contains(EndingOf(name))
                && !(EndingOf(name) == CaptionEnding && captioned.Contains(Path.GetFileNameWithoutExtension(name)))),
        ]);
        if (_pictures.Length == 0)
        {
            throw new RefusedFileException(
                folder, "pictures",
                $"there are none; supported extensions are {string.Join(", ", s_endings)}"
                + (PassedOver.Count == 0 ? "." : $"; files and folders ignored: {PassedOver}."));
        }

        _captions = withCaptions ? [.. stems.Select(stem => CaptionOf(stem, [.. texts[stem]]))] : [];
    }

    /// <inheritdoc/>
    public override long Count => _pictures.Length;

    /// <inheritdoc/>
    public override string Taken => _captions.Length == 0
        ? "pictures from the files of a folder"
        : "pictures from the files of a folder, captions from text files beside them";

    /// <inheritdoc/>
    public override PassedOver PassedOver { get; }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation)
    {
        byte[][] pictures = DataDigest.OfFiles([.. _pictures.Select(At)], cancellation);
        var captions = new byte[_captions.Length][];
        for (int i = 0; i < captions.Length; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            captions[i] = SHA256.HashData(Encoding.UTF8.GetBytes(Caption(i)));
        }

        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["source"] = "folder of pictures, upright",
            ["picture files"] = DataDigest.Of(_pictures.Zip(pictures)),
            ["captions"] = DataDigest.Of(_pictures.Zip(captions)),
        };
    }

    /// <inheritdoc/>
    /// <exception cref="RefusedFileException">The caption's file is too long or is not text.</exception>
    public override string Caption(long index) => TextFile.Read(At(_captions[index]), CaptionBytesMax).Trim();

    /// <inheritdoc/>
    public override RgbImage Picture(long index)
    {
        string path = At(_pictures[index]);
        return ImageCodec.DecodeUpright(File.ReadAllBytes(path), path);
    }

    private static string EndingOf(string name) => Path.GetExtension(name).ToLowerInvariant();

    private string At(string name) => Path.Combine(_folder, name);

    private string CaptionOf(string stem, string[] texts) => texts switch
    {
        [var one] => one,
        [] => throw new RefusedFileException(
            At(stem + CaptionEnding), "file",
            "is missing: each picture needs its caption in a text file of the same name."),
        [var first, var second, ..] => throw new RefusedFileException(
            At(second), "file", $"is a caption of the same picture as {first}; remove one of them."),
    };
}
