// All that a run needs to go on as if it had never stopped.
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Atelier.Model.Runtime;
using Atelier.Model.Weights;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// Writes and reads checkpoints of a run: one safetensors file each, written aside and renamed. Those of the run's plan
/// are "step-N"; what is left where a run was stopped is "stop-N", and goes when the next of the plan is there, so that
/// where a run can go back to does not depend on its stops.
/// </summary>
/// <param name="folder">The run's folder.</param>
/// <param name="kept">Checkpoints of the plan kept.</param>
/// <param name="identity">
/// Network, seed, batch, precision, stage and data of the run; a checkpoint of another run is not taken.
/// </param>
/// <param name="compute">
/// Precision of the run, float32 or bfloat16. The identity holds it too; here it is for a refusal to name it.
/// </param>
public sealed partial class CheckpointStore(string folder, int kept, string identity, ScalarType compute)
{
    private const string IdentityKey = "identity", PositionKey = "position", PrecisionKey = "precision";

    private const string Planned = "step-", Stopped = "stop-", Partial = ".partial", SetAside = ".set-aside";
    private static readonly StateNames s_names = new("weights", "ema", "moment1", "moment2");

    /// <summary>Whether there are checkpoints, of whatever run.</summary>
    public bool HasAny => Paths().Any();

    /// <summary>The step of the newest checkpoint of the plan; 0 if there is none.</summary>
    public long LastPlanned => Paths().Where(IsPlanned).Select(StepOf).DefaultIfEmpty(0).Max();

    /// <summary>Writes a checkpoint and removes those that it makes needless.</summary>
    /// <param name="master">What is saved.</param>
    /// <param name="position">Where the run stands.</param>
    /// <param name="isPlanned">Whether the run would save here however often it was stopped.</param>
    public void Save(MasterWeights master, RunPosition position, bool isPlanned)
    {
        Directory.CreateDirectory(folder);
        foreach (string left in Directory.GetFiles(folder, "*" + Partial))
        {
            File.Delete(left); // By a process that was killed while it wrote.
        }

        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [IdentityKey] = identity,
            [PrecisionKey] = Precision.Name(compute),
            [PositionKey] = JsonSerializer.Serialize(position),
        };
        string number = position.Step.ToString("d9", CultureInfo.InvariantCulture);
        string path = Path.Combine(folder, $"{(isPlanned ? Planned : Stopped)}{number}.safetensors");
        master.Save(path, s_names, metadata);
        string[] planned = [.. Paths().Where(IsPlanned)];
        foreach (string old in planned.Skip(kept).Concat(Paths().Where(other => !IsPlanned(other) && other != path)))
        {
            File.Delete(old);
        }
    }

    /// <summary>
    /// Loads the newest checkpoint that is whole and of this run; tells of those that were passed over, and sets them
    /// aside.
    /// </summary>
    /// <param name="master">Receives weights, moments and average.</param>
    /// <param name="tell">Told of what was passed over.</param>
    /// <param name="plannedOnly">Whether those that a stop left are none of them.</param>
    /// <returns>Where the run stands, or none if there is no checkpoint.</returns>
    /// <exception cref="RefusedFileException">There are checkpoints, but none that this run can go on from.</exception>
    public RunPosition? Load(MasterWeights master, Action<string> tell, bool plannedOnly = false)
    {
        string[] paths = [.. Paths().Where(path => !plannedOnly || IsPlanned(path))];
        for (int i = 0; i < paths.Length; i++)
        {
            try
            {
                RunPosition position = LoadOne(paths[i], master);
                foreach (string passed in paths[..i])
                {
                    File.Move(passed, passed + SetAside, overwrite: true); // It would count among those kept.
                }

                return position;
            }
            catch (RefusedFileException error) when (i + 1 < paths.Length)
            {
                tell($"{error.Message} The checkpoint before it is taken.");
            }
            catch (RefusedFileException error)
            {
                // To begin anew here would sooner or later remove what lies there.
                throw new RefusedFileException(
                    folder, "checkpoints",
                    $"are none that this run can go on from; name another folder, or remove them. {error.Message}",
                    error);
            }
        }

        return null;
    }

    private RunPosition LoadOne(string path, MasterWeights master)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        string own = Precision.Name(compute), stored = file.Metadata.GetValueOrDefault(PrecisionKey, own);
        if (stored != own)
        {
            throw new RefusedFileException(
                path, PrecisionKey,
                $"is of a run that computes in {stored}, and this one would go on in {own}; with model.dtype={stored} "
                + "it goes on as it began.");
        }

        if (file.Metadata.GetValueOrDefault(IdentityKey) != identity)
        {
            throw new RefusedFileException(path, IdentityKey, "is of a run with another network, seed or data.");
        }

        RunPosition position;
        try
        {
            position = JsonSerializer.Deserialize<RunPosition>(file.Metadata[PositionKey])
                ?? throw new RefusedFileException(path, PositionKey, "is empty.");
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException)
        {
            throw new RefusedFileException(path, PositionKey, "cannot be read.", error);
        }

        master.Restore(path, file, s_names, position.Updates);
        return position;
    }

    private IEnumerable<string> Paths() => !Directory.Exists(folder) ? [] : Directory.GetFiles(folder)
        .Where(path => CheckpointName().IsMatch(Path.GetFileName(path)))
        .OrderByDescending(StepOf).ThenByDescending(IsPlanned);

    private static bool IsPlanned(string path) => Path.GetFileName(path).StartsWith(Planned, StringComparison.Ordinal);

    private static long StepOf(string path) =>
        long.Parse(Path.GetFileNameWithoutExtension(path.AsSpan())[Planned.Length..], CultureInfo.InvariantCulture);

    [GeneratedRegex(
        @"^(?:step|stop)-\d{9}\.safetensors$", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex CheckpointName();
}
