// The files that a stage ends with, and from which the next one starts.
using System.Globalization;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// Writes and reads a stage's result: its averaged weights if there are some, and the last ones beside them.
/// </summary>
public static class StageResult
{
    /// <summary>Name of the file by which a stage counts as complete.</summary>
    public const string FileName = "final.safetensors";

    /// <summary>The result's path in a stage's folder, whether or not it is there.</summary>
    public static string PathIn(string folder) => Path.Combine(folder, FileName);

    /// <summary>Writes the result.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="master">Its weights.</param>
    /// <param name="steps">Batches behind it.</param>
    public static void Save(StageConfig config, MasterWeights master, long steps)
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["stage"] = config.Name,
            ["steps"] = steps.ToString(CultureInfo.InvariantCulture),
        };
        string result = PathIn(config.Folder);

        // The one by which the stage counts as complete comes last.
        (string File, Tensor Flat)[] results =
            [(LastOf(result), master.Weights), (result, master.Average ?? master.Weights)];
        foreach ((string file, Tensor flat) in results)
        {
            (string Name, Tensor View)[] views = [.. master.Named(flat)];
            using var writer = new SafeTensorsWriter(
                file, views.Select(v => new TensorInfo(v.Name, ElementType.Float32, v.View.shape)), metadata);
            foreach (TensorInfo info in writer.Order)
            {
                using Tensor local = views.First(v => v.Name == info.Name).View.detach().cpu().contiguous();
                writer.Append(info.Name, local.bytes);
            }

            writer.Commit();
            foreach ((_, Tensor view) in views)
            {
                view.Dispose();
            }
        }
    }

    /// <summary>Removes the result of a stage that was made longer since.</summary>
    public static void Delete(string folder)
    {
        File.Delete(PathIn(folder));
        File.Delete(LastOf(PathIn(folder)));
    }

    /// <summary>Fills a network with the weights that a stage starts from, if it names any.</summary>
    /// <exception cref="RefusedFileException">They are missing, damaged, or of another network.</exception>
    public static void Load(MicroDiT network, StageStart start)
    {
        string file = start.Path
            ?? throw new ArgumentException("A stage that starts from the initializer has no file.", nameof(start));
        if (Directory.Exists(file))
        {
            file = PathIn(file);
            file = start.Average || !File.Exists(LastOf(file)) ? file : LastOf(file);
        }

        if (!File.Exists(file))
        {
            throw new RefusedFileException(
                file, "file", "is not there: the stage that this one starts from has not ended.");
        }

        // Weights alone: the position table is this stage's own, and the optimizer starts afresh.
        using IWeightSource source = WeightFile.Open(file).FindModel("dit");
        StrictLoader.Load(network, source, ignore: ["pos_embed", "mask_token"], checkFinite: true);
    }

    private static string LastOf(string result) => Path.ChangeExtension(result, ".last.safetensors");
}
