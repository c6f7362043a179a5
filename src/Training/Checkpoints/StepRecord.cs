// The record of one training step: the decision about the step and the samples that it used. Records are committed with
// the checkpoint that covers them, so that an audit can count how often each sample was used.
using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Training.Checkpoints;

/// <summary>A stream of the data.</summary>
/// <param name="Name">The stream's folder or name in a store, as the configuration names it.</param>
/// <param name="First">Index in the data of the stream's first sample.</param>
/// <param name="Samples">Number of samples of the stream.</param>
public sealed record DataStream(string Name, int First, int Samples);

/// <summary>The record of one step of a stage.</summary>
/// <param name="Step">Number of the step, from 0.</param>
/// <param name="World">Number of the world in which the step's gradients were summed.</param>
/// <param name="Verdict">Whether the step was applied, skipped or rolled back.</param>
/// <param name="Loss">Mean loss of the step's samples; NaN if there are none.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN if there are no samples.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
/// <param name="Samples">Indices in the data of the samples that the sums include, in the run's order.</param>
/// <param name="LeftOut">Indices in the data of the step's samples that were excluded from the sums.</param>
/// <param name="UndoneFrom">
/// The step to which the run rolled back after this one; null if there was no rollback.
/// </param>
public sealed record StepRecord(
    long Step, int World, StepVerdict Verdict, double Loss, double GradientNorm, double LearningRate,
    ImmutableArray<int> Samples, ImmutableArray<int> LeftOut, long? UndoneFrom = null)
{
    /// <summary>Maximum length of a file's first line in bytes.</summary>
    public const int LinkBytesMax = 256;

    /// <summary>
    /// The streams of the data, by which a reader finds the source of each sample: in the first record of a file only,
    /// and null in files of earlier releases.
    /// </summary>
    public IReadOnlyList<DataStream>? Streams { get; init; }

    private static readonly JsonSerializerOptions s_json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new JsonStringEnumConverter<StepVerdict>(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <summary>
    /// Writes records as JSON, one per line. The first line contains the SHA-256 of the file with the earlier records.
    /// Equal records give equal bytes.
    /// </summary>
    /// <param name="records">The records.</param>
    /// <param name="previous">SHA-256 of the file with the earlier records; null for the first file.</param>
    public static byte[] Write(IEnumerable<StepRecord> records, string? previous)
    {
        using var stream = new MemoryStream();
        JsonSerializer.Serialize(stream, new Link(previous), s_json);
        stream.WriteByte((byte)'\n');
        foreach (StepRecord record in records)
        {
            JsonSerializer.Serialize(stream, record, s_json);
            stream.WriteByte((byte)'\n');
        }

        return stream.ToArray();
    }

    /// <summary>Reads records that <see cref="Write"/> wrote.</summary>
    /// <exception cref="InvalidDataException">The file is empty, or one of its lines cannot be read.</exception>
    public static (IReadOnlyList<StepRecord> Records, string? Previous) Read(ReadOnlySpan<byte> bytes)
    {
        string[] lines = Encoding.UTF8.GetString(bytes).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length == 0)
        {
            throw new InvalidDataException("A file of step records is empty.");
        }

        return (
            [.. lines.Skip(1).Select((line, i) => Parse<StepRecord>(line, i + 2))], Parse<Link>(lines[0], 1).Previous);
    }

    /// <summary>Reads only the SHA-256 of the file with the earlier records; null for the first file.</summary>
    /// <param name="begin">The file's first <see cref="LinkBytesMax"/> bytes; all of a shorter file.</param>
    /// <exception cref="InvalidDataException">The first line is missing or cannot be read.</exception>
    public static string? ReadPrevious(ReadOnlySpan<byte> begin)
    {
        int end = begin.IndexOf((byte)'\n');
        return Parse<Link>(Encoding.UTF8.GetString(begin[..Math.Max(0, end)]), 1).Previous;
    }

    private static T Parse<T>(string line, int number)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(line, s_json) ?? throw new JsonException("The line is null.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"Line {number} of a file of step records cannot be read.", error);
        }
    }

    private sealed record Link(string? Previous);
}
