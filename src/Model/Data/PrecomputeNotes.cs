// The notes that are stored beside latents: the skipped pictures, and the captions that were truncated for the text
// encoder.
using System.Text.Json;
using Atelier.Model.Clip;

namespace Atelier.Model.Data;

/// <summary>A picture that was skipped because a network gave NaN or infinity for it.</summary>
/// <param name="Picture">Index of the picture in the source.</param>
/// <param name="Column">The column that would hold NaN or infinity.</param>
/// <param name="Value">The first such value in the column.</param>
public sealed record SkippedPicture(long Picture, string Column, string Value);

/// <summary>A caption that was truncated for the text encoder.</summary>
/// <param name="Picture">Index of the caption's picture in the source.</param>
/// <param name="Tokens">The number of tokens in the caption, and how many of them the text encoder used.</param>
public sealed record CutCaption(long Picture, TokenCount Tokens);

/// <summary>Captions that were truncated for the text encoder.</summary>
/// <param name="Count">Number of these captions.</param>
/// <param name="First">The first of these captions, at most <see cref="FirstMax"/>.</param>
public sealed record CutCaptions(long Count, CutCaption[] First)
{
    /// <summary>Maximum number of captions that are listed.</summary>
    public const int FirstMax = 5;

    /// <summary>Those of consecutive pictures' captions that the tokenizer's context truncates.</summary>
    /// <param name="tokenizer">The text encoder's tokenizer.</param>
    /// <param name="first">Index of the first caption's picture in the source.</param>
    /// <param name="captions">The captions.</param>
    public static CutCaptions Of(ClipTokenizer tokenizer, long first, IEnumerable<string> captions)
    {
        CutCaption[] cut =
        [
            .. captions.Select((caption, i) => new CutCaption(first + i, tokenizer.Count(caption)))
                .Where(caption => caption.Tokens.CutAt is not null),
        ];
        return new CutCaptions(cut.Length, [.. cut.Take(FirstMax)]);
    }

    /// <summary>Combines these captions with others.</summary>
    public CutCaptions With(CutCaptions others) => new(
        Count + others.Count, [.. First.Concat(others.First).OrderBy(caption => caption.Picture).Take(FirstMax)]);
}

/// <summary>Reads and writes the notes in a folder of latents or in the folder of one part.</summary>
internal static class PrecomputeNotes
{
    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true };

    /// <summary>The skipped pictures; empty if there is no such note.</summary>
    public static SkippedPicture[] ReadSkipped(string folder) =>
        Read<SkippedPicture[]>(folder, Precompute.SkippedFile, "is not a list of skipped pictures.") ?? [];

    /// <summary>Writes the list of skipped pictures unless it is empty.</summary>
    public static void WriteSkipped(string folder, IReadOnlyList<SkippedPicture> skipped)
    {
        if (skipped.Count > 0)
        {
            Write(folder, Precompute.SkippedFile, skipped);
        }
    }

    /// <summary>The truncated captions; empty if there is no such note.</summary>
    public static CutCaptions ReadCut(string folder) =>
        Read<CutCaptions>(folder, Precompute.CutFile, "is not a count of truncated captions.")
        ?? new CutCaptions(0, []);

    /// <summary>Writes the truncated captions unless there are none.</summary>
    public static void WriteCut(string folder, CutCaptions cut)
    {
        if (cut.Count > 0)
        {
            Write(folder, Precompute.CutFile, cut);
        }
    }

    private static T? Read<T>(string folder, string name, string otherwise) where T : class
    {
        string path = Path.Combine(folder, name);
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<T>(File.ReadAllText(path)) : null;
        }
        catch (JsonException error)
        {
            throw new RefusedFileException(path, "line 1", otherwise, error);
        }
    }

    /// <summary>Writes a note through a temporary file.</summary>
    public static void Write<T>(string folder, string name, T note)
    {
        WholeFile.WriteText(Path.Combine(folder, name), JsonSerializer.Serialize(note, s_readable) + "\n");
    }
}
