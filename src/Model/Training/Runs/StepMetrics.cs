// The metrics of a run: one line of JSON per step.
using System.Text.Json;
using System.Text.Json.Serialization;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Writes and reads a run's metrics. A line is written before the next step begins.</summary>
public sealed class StepMetrics : IDisposable
{
    /// <summary>Name of the file, in the run's folder.</summary>
    public const string FileName = "metrics.jsonl";

    private static readonly JsonSerializerOptions s_format = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private readonly StreamWriter _file;

    /// <summary>
    /// Opens a run's metrics. Lines from <paramref name="step"/> on are removed, because those steps will be repeated.
    /// </summary>
    public StepMetrics(string folder, long step)
    {
        string path = Path.Combine(folder, FileName);
        if (File.Exists(path))
        {
            string[] kept = [.. File.ReadLines(path).Where(line => StepOf(line) is { } made && made < step)];
            WholeFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
        }

        _file = new StreamWriter(path, append: true) { AutoFlush = true };
    }

    /// <summary>Adds a step.</summary>
    public void Add(StepResult step) => _file.WriteLine(JsonSerializer.Serialize(step, s_format));

    /// <summary>The steps of a run so far; empty if it has no metrics.</summary>
    public static StepResult[] Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        return !File.Exists(path) ? [] :
            [.. File.ReadLines(path).Select(line => JsonSerializer.Deserialize<StepResult>(line, s_format))];
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static long? StepOf(string line)
    {
        try
        {
            return JsonSerializer.Deserialize<StepResult>(line, s_format).Step;
        }
        catch (JsonException)
        {
            return null; // A killed process was writing this line.
        }
    }
}
