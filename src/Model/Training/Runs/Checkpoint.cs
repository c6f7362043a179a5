// All that a run needs to go on as if it had never stopped.
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>A slice of the run's order that was not trained on, and why.</summary>
/// <param name="Step">The batch whose samples were left out.</param>
/// <param name="Reason">Why.</param>
public sealed record SkippedSlice(long Step, string Reason);

/// <summary>Where a run stands, apart from its tensors.</summary>
/// <param name="Step">Batches behind it: the next batch's number.</param>
/// <param name="Updates">Updates of the optimizer.</param>
/// <param name="Memory">What the policy remembers.</param>
/// <param name="Ledger">Slices that were skipped.</param>
public sealed record RunPosition(long Step, long Updates, PolicyMemory Memory, IReadOnlyList<SkippedSlice> Ledger);

/// <summary>Writes and reads checkpoints of a run: one safetensors file each, written aside and renamed.</summary>
/// <param name="folder">The run's folder.</param>
/// <param name="kept">Checkpoints kept.</param>
/// <param name="identity">Network, seed and data of the run; a checkpoint of another run is not taken.</param>
public sealed partial class CheckpointStore(string folder, int kept, string identity)
{
    private const string Weights = "weights", Ema = "ema", First = "moment1", Second = "moment2";

    /// <summary>Writes a checkpoint and removes those above the number kept.</summary>
    public void Save(TrainingEngine engine, RunPosition position)
    {
        Directory.CreateDirectory(folder);
        Dictionary<string, Tensor> tensors = TensorsOf(engine);
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["identity"] = identity,
            ["position"] = JsonSerializer.Serialize(position),
        };
        string path = Path.Combine(
            folder, $"step-{position.Step.ToString("d9", CultureInfo.InvariantCulture)}.safetensors");
        using (var writer = new SafeTensorsWriter(
            path, tensors.Select(t => new TensorInfo(t.Key, ElementType.Float32, t.Value.shape)), metadata))
        {
            foreach (TensorInfo info in writer.Order)
            {
                using Tensor local = tensors[info.Name].detach().cpu();
                writer.Append(info.Name, local.bytes);
            }

            writer.Commit();
        }

        foreach (string old in Paths().Skip(kept))
        {
            File.Delete(old);
        }
    }

    /// <summary>
    /// Loads the newest checkpoint that is whole and of this run; tells of those that were passed over.
    /// </summary>
    /// <returns>Where the run stands, or none if there is no checkpoint.</returns>
    /// <exception cref="RefusedFileException">There are checkpoints, but none that this run can go on from.</exception>
    public RunPosition? Load(TrainingEngine engine, Action<string> tell)
    {
        string[] paths = [.. Paths()];
        for (int i = 0; i < paths.Length; i++)
        {
            try
            {
                return LoadOne(paths[i], engine);
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

    private RunPosition LoadOne(string path, TrainingEngine engine)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        if (file.Metadata.GetValueOrDefault("identity") != identity)
        {
            throw new RefusedFileException(path, "identity", "is of a run with another network, seed or data.");
        }

        Dictionary<string, Tensor> tensors = TensorsOf(engine);
        foreach ((string name, Tensor tensor) in tensors)
        {
            if (!file.Tensors.TryGetValue(name, out TensorInfo? info) || !info.Shape.SequenceEqual(tensor.shape)
                || info.Type != ElementType.Float32)
            {
                throw new RefusedFileException(
                    path, name, $"is missing or is not F32 [{string.Join(", ", tensor.shape)}].");
            }
        }

        RunPosition position;
        try
        {
            position = JsonSerializer.Deserialize<RunPosition>(file.Metadata["position"])
                ?? throw new RefusedFileException(path, "position", "is empty.");
        }
        catch (Exception error) when (error is JsonException or KeyNotFoundException)
        {
            throw new RefusedFileException(path, "position", "cannot be read.", error);
        }

        using IDisposable noGradients = no_grad();
        foreach ((string name, Tensor tensor) in tensors)
        {
            using Tensor staged = empty(tensor.shape);
            file.ReadInto(name, staged.bytes);
            tensor.copy_(staged);
        }

        engine.Optimizer.Updates = position.Updates;
        engine.Refresh();
        return position;
    }

    private IEnumerable<string> Paths() => !Directory.Exists(folder) ? [] : Directory.GetFiles(folder)
        .Where(path => CheckpointName().IsMatch(Path.GetFileName(path)))
        .OrderDescending(StringComparer.Ordinal);

    private static Dictionary<string, Tensor> TensorsOf(TrainingEngine engine)
    {
        var tensors = new Dictionary<string, Tensor>(StringComparer.Ordinal)
        {
            [Weights] = engine.Weights,
            [First] = engine.Optimizer.FirstMoment,
            [Second] = engine.Optimizer.SecondMoment,
        };
        if (engine.Ema is not null)
        {
            tensors[Ema] = engine.Ema;
        }

        return tensors;
    }

    [GeneratedRegex(@"^step-\d{9}\.safetensors$", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex CheckpointName();
}
