// The record of a step: what was decided about it, and on which samples. Records are committed with the checkpoint that
// covers them, so that an audit can count how often each sample was used.
using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Training.Checkpoints;

/// <summary>A step of a stage.</summary>
/// <param name="Step">Its number, from 0.</param>
/// <param name="World">The world in which its gradients were added up.</param>
/// <param name="Verdict">Whether it was applied.</param>
/// <param name="Loss">Mean loss of its samples; NaN if it has none.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN if it has no samples.</param>
/// <param name="LearningRate">Learning rate of the update.</param>
/// <param name="Samples">Samples in its sums, as indexes of the data, in the run's order.</param>
/// <param name="LeftOut">Samples of its slice that were in no sum.</param>
/// <param name="UndoneFrom">The step to which the run rolled back after this one; null if it did not.</param>
public sealed record StepRecord(
    long Step, int World, StepVerdict Verdict, double Loss, double GradientNorm, double LearningRate,
    ImmutableArray<int> Samples, ImmutableArray<int> LeftOut, long? UndoneFrom = null)
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new JsonStringEnumConverter<StepVerdict>(JsonNamingPolicy.SnakeCaseLower) },
    };

    /// <summary>
    /// Writes records as JSON, one a line, after a line that names the file with the records before them. Equal records
    /// give equal bytes.
    /// </summary>
    /// <param name="records">The records.</param>
    /// <param name="previous">SHA-256 of the file before; null for the first one.</param>
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

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    /// <exception cref="InvalidDataException">A line is not a record, or the first one cannot be read.</exception>
    public static (IReadOnlyList<StepRecord> Records, string? Previous) Read(ReadOnlySpan<byte> bytes)
    {
        string[] lines = Encoding.UTF8.GetString(bytes).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length == 0)
        {
            throw new InvalidDataException("A file of records has no line.");
        }

        return (
            [.. lines.Skip(1).Select((line, i) => Parse<StepRecord>(line, i + 2))], Parse<Link>(lines[0], 1).Previous);
    }

    private static T Parse<T>(string line, int number)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(line, s_json) ?? throw new JsonException("It is null.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"Line {number} of a file of records cannot be read.", error);
        }
    }

    private sealed record Link(string? Previous);
}
