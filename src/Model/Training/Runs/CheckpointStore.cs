// Checkpoints: everything that a run needs to resume as if it had never stopped.
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Atelier.Model.Weights;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// Writes and reads checkpoints of a run: one safetensors file each, written through a temporary file. Planned
/// checkpoints are named "step-N". Checkpoints written on shutdown are named "stop-N", and the next planned checkpoint
/// removes them, so that the target of a rollback does not depend on when the run was stopped.
/// </summary>
/// <param name="folder">The run's folder.</param>
/// <param name="kept">Number of planned checkpoints to keep.</param>
/// <param name="identity">
/// Identity of the run, with this process's device. Checkpoints with another identity are refused.
/// </param>
/// <param name="earlierDigest">
/// The digest by which checkpoints of earlier releases identify the run. Those releases did not record the parts of the
/// identity.
/// </param>
/// <param name="takesOtherDevices">Whether checkpoints from other kinds of devices are accepted.</param>
public sealed partial class CheckpointStore(
    string folder, int kept, RunIdentity identity, string earlierDigest, bool takesOtherDevices = false)
{
    // The value of IdentityKey is the digest of the value of PartsKey.
    private const string IdentityKey = "identity", PartsKey = "identity_parts", PositionKey = "position",
        PrecisionKey = "precision";

    private const string Planned = "step-", Stopped = "stop-", Partial = ".partial", SetAside = ".set-aside";
    private static readonly StateNames s_names = new("weights", "ema", "moment1", "moment2");

    /// <summary>The run's identity, including the devices of the checkpoint from which the run was resumed.</summary>
    public RunIdentity Identity { get; private set; } = identity;

    /// <summary>Whether there are checkpoints, of this run or another.</summary>
    public bool HasAny => Paths().Any();

    /// <summary>The step of the newest planned checkpoint; 0 if there is none.</summary>
    public long LastPlanned => Paths().Where(IsPlanned).Select(StepOf).DefaultIfEmpty(0).Max();

    /// <summary>The checkpoints of a stage, in the stage's folder.</summary>
    public static CheckpointStore Of(StageConfig stage, ITrainingData data) => new(
        stage.Folder, stage.CheckpointsKept, StageIdentity.Of(stage, data), StageIdentity.EarlierDigest(stage, data),
        stage.TakesOtherDevices);

    /// <summary>The stage with the sample order of the run whose checkpoints are in the stage's folder.</summary>
    /// <returns>The given stage if there are none, or if their order is not known to this release.</returns>
    public static StageConfig WithOrderOf(StageConfig stage)
    {
        foreach (string path in PathsIn(stage.Folder))
        {
            try
            {
                using SafeTensorsFile file = SafeTensorsFile.Open(path);
                int version = file.Metadata.TryGetValue(PartsKey, out string? parts)
                    ? RunIdentity.Parse(parts).OrderVersion : SampleOrder.UniformVersion;
                return SampleOrder.IsKnown(version) ? stage with { OrderVersion = version } : stage;
            }
            catch (Exception error) when (error is RefusedFileException or JsonException)
            {
                // Damaged; the stage resumes from the checkpoint before it.
            }
        }

        return stage;
    }

    /// <summary>Metadata of a checkpoint file, except the position.</summary>
    /// <param name="identity">Identity of the run.</param>
    public static Dictionary<string, string> MetadataOf(RunIdentity identity)
    {
        string parts = identity.ToJson();
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [IdentityKey] = DigestOf(parts), [PartsKey] = parts, [PrecisionKey] = identity.Precision,
        };
    }

    /// <summary>Where a checkpoint of a folder is.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="step">Steps that are in the checkpoint.</param>
    /// <param name="isPlanned">Whether it is a planned one.</param>
    public static string PathOf(string folder, long step, bool isPlanned) => Path.Combine(
        folder,
        $"{(isPlanned ? Planned : Stopped)}{step.ToString("d9", CultureInfo.InvariantCulture)}.safetensors");

    /// <summary>The step of the newest checkpoint of a folder; null if it has none.</summary>
    public static long? NewestStep(string folder) =>
        PathsIn(folder).Select(path => (long?)StepOf(path)).FirstOrDefault();

    /// <summary>Writes a checkpoint and removes the checkpoints that it supersedes.</summary>
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

        Dictionary<string, string> metadata = MetadataOf(Identity);
        metadata[PositionKey] = JsonSerializer.Serialize(position);
        string path = PathOf(folder, position.Step, isPlanned);
        master.Save(path, s_names, metadata);
        string[] planned = [.. Paths().Where(IsPlanned)];
        foreach (string old in planned.Skip(kept).Concat(Paths().Where(other => !IsPlanned(other) && other != path)))
        {
            File.Delete(old);
        }
    }

    /// <summary>
    /// Loads the newest intact checkpoint of this run. <see cref="Identity"/> then includes that checkpoint's devices.
    /// Newer checkpoints, which are damaged, are reported and set aside.
    /// </summary>
    /// <param name="master">Receives weights, moments and average.</param>
    /// <param name="remark">
    /// Receives messages about skipped checkpoints, and about guarantees that do not hold for the loaded checkpoint.
    /// </param>
    /// <param name="plannedOnly">Whether to ignore checkpoints written on shutdown.</param>
    /// <returns>The run's position; null if there is no checkpoint.</returns>
    /// <exception cref="RefusedFileException">
    /// There are checkpoints, but this run cannot resume from any of them.
    /// </exception>
    public RunPosition? Load(MasterWeights master, Action<string> remark, bool plannedOnly = false)
    {
        string[] paths = [.. Paths().Where(path => !plannedOnly || IsPlanned(path))];
        for (int i = 0; i < paths.Length; i++)
        {
            try
            {
                RunPosition position = LoadOne(paths[i], master, remark);
                foreach (string passed in paths[..i])
                {
                    File.Move(passed, passed + SetAside, overwrite: true); // It would count as a checkpoint to keep.
                }

                return position;
            }
            catch (RefusedFileException error) when (i + 1 < paths.Length && !IsOfAnotherRun(error))
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

    private RunPosition LoadOne(string path, MasterWeights master, Action<string> remark)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        string own = Identity.Precision, stored = file.Metadata.GetValueOrDefault(PrecisionKey, own);
        if (stored != own)
        {
            throw new RefusedFileException(
                path, PrecisionKey,
                $"is of a run that computes in {stored}, but this run uses {own}; set model.dtype={stored} "
                + "to resume it.");
        }

        RunIdentity? stillOwn = IdentityFrom(path, file.Metadata);
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
        if (stillOwn is null)
        {
            remark(
                $"{path} was written by an earlier release, which recorded neither shards nor threads nor the kind of "
                + "device: if these differ in this run, its weights are not those of a run that was never stopped.");
        }
        else if (stillOwn != Identity)
        {
            Identity = stillOwn;
            remark(
                $"the run is trained on several kinds of devices ({Identity.Device}; trainer.mixed): bit-identical "
                + "results are no longer guaranteed");
        }

        return position;
    }

    // The identity with which the run continues; null if the checkpoint does not record one.
    private RunIdentity? IdentityFrom(string path, IReadOnlyDictionary<string, string> metadata)
    {
        string digest = metadata.GetValueOrDefault(IdentityKey, "");
        if (!metadata.TryGetValue(PartsKey, out string? parts))
        {
            return digest == earlierDigest ? null : throw new RefusedFileException(
                path, IdentityKey,
                "is of a run with another network, seed, batch, stage or data; the release that wrote it did not "
                + "record which of these differs.");
        }

        RunIdentity stored;
        try
        {
            stored = digest == DigestOf(parts)
                ? RunIdentity.Parse(parts)
                : throw new RefusedFileException(path, PartsKey, "does not match its digest.");
        }
        catch (JsonException error)
        {
            throw new RefusedFileException(
                path, IdentityKey, "cannot be read; it may be of a later release. " + error.Message, error);
        }

        if (Identity.Continue(stored, takesOtherDevices, out IReadOnlyList<string> differences) is { } own)
        {
            return own;
        }

        string advice = Identity.Continue(stored, takesOtherDevices: true, out _) is null
            ? "" : "; trainer.mixed=true resumes on another kind of device, without guaranteeing bit-identical results";
        throw new RefusedFileException(
            path, IdentityKey, $"is of another run: {string.Join("; ", differences)}{advice}.");
    }

    // The previous checkpoint may be of this run, but resuming from it would discard the progress since then.
    private static bool IsOfAnotherRun(RefusedFileException error) => error.Place is IdentityKey or PrecisionKey;

    private static string DigestOf(string parts) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(parts)));

    private IEnumerable<string> Paths() => PathsIn(folder);

    // The newest first.
    private static IEnumerable<string> PathsIn(string folder) => !Directory.Exists(folder) ? [] : Directory
        .GetFiles(folder)
        .Where(path => CheckpointName().IsMatch(Path.GetFileName(path)))
        .OrderByDescending(StepOf).ThenByDescending(IsPlanned);

    private static bool IsPlanned(string path) => Path.GetFileName(path).StartsWith(Planned, StringComparison.Ordinal);

    private static long StepOf(string path) =>
        long.Parse(Path.GetFileNameWithoutExtension(path.AsSpan())[Planned.Length..], CultureInfo.InvariantCulture);

    [GeneratedRegex(
        @"^(?:step|stop)-\d{9}\.safetensors$", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex CheckpointName();
}
