// Checkpoints: everything that a run needs to resume as if it had never stopped.
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Atelier.Model.Runtime;
using Atelier.Model.Weights;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// Writes and reads checkpoints of a run: one safetensors file each, written through a temporary file. Planned ones are
/// "step-N". Those written on shutdown are "stop-N" and are removed by the next planned one, so that the target of a
/// rollback does not depend on when the run was stopped.
/// </summary>
/// <param name="folder">The run's folder.</param>
/// <param name="kept">Number of planned checkpoints to keep.</param>
/// <param name="identity">
/// Identity of the run: network, seed, batch, precision, stage and data. Checkpoints of another run are refused.
/// </param>
/// <param name="compute">
/// Precision of the run, float32 or bfloat16. It is part of the identity; here it serves for error messages.
/// </param>
public sealed partial class CheckpointStore(string folder, int kept, string identity, ScalarType compute)
{
    private const string IdentityKey = "identity", PositionKey = "position", PrecisionKey = "precision";

    private const string Planned = "step-", Stopped = "stop-", Partial = ".partial", SetAside = ".set-aside";
    private static readonly StateNames s_names = new("weights", "ema", "moment1", "moment2");

    /// <summary>Whether there are checkpoints, of this run or another.</summary>
    public bool HasAny => Paths().Any();

    /// <summary>The step of the newest planned checkpoint; 0 if there is none.</summary>
    public long LastPlanned => Paths().Where(IsPlanned).Select(StepOf).DefaultIfEmpty(0).Max();

    /// <summary>Writes a checkpoint and removes those that it supersedes.</summary>
    /// <param name="master">The state to save.</param>
    /// <param name="position">The run's position.</param>
    /// <param name="isPlanned">Whether it is a planned checkpoint, and not one written on shutdown.</param>
    public void Save(MasterWeights master, RunPosition position, bool isPlanned)
    {
        Directory.CreateDirectory(folder);
        foreach (string left in Directory.GetFiles(folder, "*" + Partial))
        {
            File.Delete(left); // Left by a process that was killed while writing.
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
    /// Loads the newest intact checkpoint of this run. Newer ones that are damaged are reported and set aside.
    /// </summary>
    /// <param name="master">Receives weights, moments and average.</param>
    /// <param name="remark">Receives messages about skipped checkpoints.</param>
    /// <param name="plannedOnly">Whether to ignore checkpoints written on shutdown.</param>
    /// <returns>The run's position; null if there is no checkpoint.</returns>
    /// <exception cref="RefusedFileException">
    /// There are checkpoints, but this run can resume from none of them.
    /// </exception>
    public RunPosition? Load(MasterWeights master, Action<string> remark, bool plannedOnly = false)
    {
        string[] paths = [.. Paths().Where(path => !plannedOnly || IsPlanned(path))];
        for (int i = 0; i < paths.Length; i++)
        {
            try
            {
                RunPosition position = LoadOne(paths[i], master);
                foreach (string passed in paths[..i])
                {
                    File.Move(passed, passed + SetAside, overwrite: true); // It would count as one of those to keep.
                }

                return position;
            }
            catch (RefusedFileException error) when (i + 1 < paths.Length)
            {
                remark($"{error.Message} The previous checkpoint is used.");
            }
            catch (RefusedFileException error)
            {
                // Starting over here would eventually remove the existing checkpoints.
                throw new RefusedFileException(
                    folder, "checkpoints",
                    $"cannot be resumed by this run; use another folder, or remove them. {error.Message}",
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
                $"is of a run that computes in {stored}, but this run uses {own}; set model.dtype={stored} "
                + "to resume it.");
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
