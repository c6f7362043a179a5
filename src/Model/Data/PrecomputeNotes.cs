// What is noted beside latents: pictures that were skipped, and captions of which the text encoder does not take all.
using System.Text.Json;
using Atelier.Model.Clip;

namespace Atelier.Model.Data;

/// <summary>A picture that is not among the latents, since a network gave no numbers for it.</summary>
/// <param name="Picture">Its number in the source.</param>
/// <param name="Column">The column that would hold NaN or an infinity.</param>
/// <param name="Value">The first such value.</param>
public sealed record SkippedPicture(long Picture, string Column, string Value);

/// <summary>A caption of which the text encoder does not take all.</summary>
/// <param name="Picture">Its picture's number in the source.</param>
/// <param name="Tokens">How much of it the text encoder takes.</param>
public sealed record CutCaption(long Picture, TokenCount Tokens);

/// <summary>Captions of which the text encoder does not take all.</summary>
/// <param name="Count">How many there are.</param>
/// <param name="First">The first of them, at most <see cref="FirstMax"/>.</param>
public sealed record CutCaptions(long Count, CutCaption[] First)
{
    /// <summary>Most captions that are named.</summary>
    public const int FirstMax = 5;

    /// <summary>These and others.</summary>
    public CutCaptions With(CutCaptions others) => new(
        Count + others.Count, [.. First.Concat(others.First).OrderBy(caption => caption.Picture).Take(FirstMax)]);
}

/// <summary>Reads and writes the notes of a folder of latents, or of a part of them.</summary>
internal static class PrecomputeNotes
{
    private static readonly JsonSerializerOptions s_readable = new() { WriteIndented = true };

    /// <summary>The pictures that were skipped; none without the note.</summary>
    public static SkippedPicture[] ReadSkipped(string folder) =>
        Read<SkippedPicture[]>(folder, Precompute.SkippedFile, "is no list of skipped pictures.") ?? [];

    /// <summary>Notes pictures that were skipped, if some were.</summary>
    public static void WriteSkipped(string folder, IReadOnlyList<SkippedPicture> skipped)
    {
        if (skipped.Count > 0)
        {
            Write(folder, Precompute.SkippedFile, skipped);
        }
    }

    /// <summary>The captions that were cut; none without the note.</summary>
    public static CutCaptions ReadCut(string folder) =>
        Read<CutCaptions>(folder, Precompute.CutFile, "is not a count of cut captions.") ?? new CutCaptions(0, []);

    /// <summary>Notes captions that were cut, if some were.</summary>
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

    /// <summary>Writes a note, aside first and then renamed.</summary>
    public static void Write<T>(string folder, string name, T note)
    {
        WholeFile.WriteText(Path.Combine(folder, name), JsonSerializer.Serialize(note, s_readable) + "\n");
    }
}
