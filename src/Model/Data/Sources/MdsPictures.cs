// Pictures as samples of an MDS data set, and the choice of the columns that hold them.
using System.Globalization;
using System.Text.Json;
using Atelier.Model.Data.Mds;
using Atelier.Model.Imaging;
using Atelier.Model.Weights;

namespace Atelier.Model.Data.Sources;

/// <summary>The columns of a data set that hold captions and pictures.</summary>
/// <param name="Caption">Name of the caption column, whose encoding is str or json; null to detect the column.</param>
/// <param name="Picture">Name of the picture column, whose encoding is jpeg or png; null to detect the column.</param>
public sealed record PictureColumns(string? Caption = null, string? Picture = null)
{
    private const int ListedMax = 12;

    private static readonly Choice s_captions = new("caption column", ["str", "json"], ["caption", "text"]);

    private static readonly Choice s_pictures = new(
        "picture column", ["jpeg", "png"], ["image", "picture", "photo", "jpg", "jpeg", "png", "img"]);

    /// <summary>
    /// The caption column: the given one; otherwise the only str or json column named caption or text; otherwise the
    /// only str or json column.
    /// </summary>
    /// <exception cref="RefusedFileException">
    /// There is no such column, or several columns match; the message lists the columns.
    /// </exception>
    public MdsColumn CaptionOf(MdsIndex index) => s_captions.Make(index, Caption);

    /// <summary>
    /// The picture column: the given one; otherwise the only jpeg or png column named image, picture, photo, jpg, jpeg,
    /// png or img; otherwise the only jpeg or png column.
    /// </summary>
    /// <exception cref="RefusedFileException">
    /// There is no such column, or several columns match; the message lists the columns.
    /// </exception>
    public MdsColumn PictureOf(MdsIndex index) => s_pictures.Make(index, Picture);

    private sealed record Choice(string What, string[] Encodings, string[] Usual)
    {
        public MdsColumn Make(MdsIndex index, string? name)
        {
            MdsColumn[] fitting = [.. index.Columns.Where(column => Encodings.Contains(column.Encoding.Name))];
            if (name is not null)
            {
                return fitting.FirstOrDefault(column => column.Name == name) ?? throw Refused(
                    index,
                    index.Columns.FirstOrDefault(column => column.Name == name) is { } other
                        ? $"{name} holds {other.Encoding.Name}, not {string.Join(" or ", Encodings)}; the data set has "
                        : $"{name} does not exist; the data set has ",
                    index.Columns);
            }

            MdsColumn[] usual =
                [.. fitting.Where(column => Usual.Contains(column.Name, StringComparer.OrdinalIgnoreCase))];
            return (usual, fitting) switch
            {
                ([var one], _) => one,
                ([], [var one]) => one,
                (_, []) => throw Refused(index, "is missing; the data set has ", index.Columns),
                _ => throw Refused(index, "is ambiguous; name one of ", usual is [] ? fitting : usual),
            };
        }

        private RefusedFileException Refused(MdsIndex index, string reason, IReadOnlyList<MdsColumn> columns) => new(
            index.Directory, What,
            $"{reason}{string.Join(", ", columns.Take(ListedMax).Select(Described))}"
            + (columns.Count > ListedMax ? $" and {columns.Count - ListedMax} more." : "."));
    }

    internal static string Described(MdsColumn column) => $"{column.Name} ({column.Encoding.Name})";
}

/// <summary>
/// An MDS data set with a text column and a jpeg or png column. EXIF orientation is ignored, as in the reference.
/// </summary>
public sealed class MdsPictures : StoredPictures
{
    private readonly MdsDataset _data;
    private readonly MdsColumn? _caption;
    private readonly MdsColumn _picture;

    /// <summary>Opens a data set.</summary>
    /// <param name="folder">Folder of the data set.</param>
    /// <param name="columns">Names of the caption and picture columns; null to detect them.</param>
    /// <param name="withCaptions">Whether captions are required.</param>
    /// <exception cref="RefusedFileException">
    /// The data set has no samples or no such columns, or several columns match.
    /// </exception>
    public MdsPictures(string folder, PictureColumns? columns = null, bool withCaptions = true)
    {
        columns ??= new PictureColumns();
        _data = new MdsDataset(folder);
        if (_data.Count == 0)
        {
            throw new RefusedFileException(folder, "samples", "there are none.");
        }

        _caption = withCaptions ? columns.CaptionOf(_data.Index) : null;
        _picture = columns.PictureOf(_data.Index);
    }

    /// <inheritdoc/>
    public override long Count => _data.Count;

    /// <inheritdoc/>
    public override string Taken => $"pictures from column {PictureColumns.Described(_picture)}"
        + (_caption is null ? "" : $", captions from column {PictureColumns.Described(_caption)}");

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation)
    {
        // A shard with checksums in the index is verified when it is opened; the other shards have to be hashed here.
        string[] bare =
        [
            .. _data.Index.Shards.Where(shard => shard.RawData.Hashes.Count + (shard.ZipData?.Hashes.Count ?? 0) == 0)
                .Select(shard => _data.Index.Locate(shard)),
        ];
        byte[][] digests = DataDigest.OfFiles(bare, cancellation);
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["source"] = $"data set, {Taken}",
            ["index"] = WeightDigest.OfFile(Path.Combine(_data.Index.Directory, MdsIndex.FileName)),
            ["shards"] = bare.Length == 0
                ? "as the index says" : DataDigest.Of(bare.Select(path => Path.GetFileName(path)).Zip(digests)),
        };
    }

    /// <inheritdoc/>
    /// <exception cref="RefusedFileException">The caption is JSON, but not a string.</exception>
    public override string Caption(long index)
    {
        MdsColumn column = _caption ?? throw new InvalidOperationException("The data set was opened without captions.");
        MdsSample sample = _data.Read(index, column.Name);
        return column.Encoding.ValueType == typeof(string) ? sample.Get<string>(column.Name)
            : ToText(sample.Get<JsonElement>(column.Name), index, column.Name);
    }

    /// <inheritdoc/>
    public override RgbImage Picture(long index) => _data.Read(index, _picture.Name).Get<RgbImage>(_picture.Name);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _data.Dispose();
        base.Dispose(disposing);
    }

    private string ToText(JsonElement json, long index, string column)
    {
        try
        {
            if (json.ValueKind == JsonValueKind.String)
            {
                return json.GetString()!;
            }
        }
        catch (InvalidOperationException)
        {
            // The string contains an escaped unpaired surrogate.
        }

        throw new RefusedFileException(
            _data.Index.Directory, $"sample {index.ToString(CultureInfo.InvariantCulture)}, column '{column}'",
            $"the JSON is {json.ValueKind.ToString().ToLowerInvariant()}; a caption must be a JSON string.");
    }
}
