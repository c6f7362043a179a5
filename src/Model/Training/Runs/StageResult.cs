// The result files of a stage, from which the next stage starts.
using System.Globalization;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// Writes and reads a stage's result: its averaged weights if there are any, and the last weights beside them.
/// </summary>
public static class StageResult
{
    /// <summary>Name of the file that marks a stage as complete.</summary>
    public const string FileName = "final.safetensors";

    /// <summary>The path of the result in a stage's folder; the file need not exist.</summary>
    public static string PathIn(string folder) => Path.Combine(folder, FileName);

    /// <summary>Writes the result.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="master">Its weights.</param>
    /// <param name="steps">Batches completed.</param>
    public static void Save(StageConfig config, MasterWeights master, long steps)
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["stage"] = config.Name,
            ["steps"] = steps.ToString(CultureInfo.InvariantCulture),
        };
        string result = PathIn(config.Folder);

        // The file that marks the stage as complete is written last.
        (string File, Tensor Flat)[] results =
            [(LastOf(result), master.Weights), (result, master.Average ?? master.Weights)];
        foreach ((string file, Tensor flat) in results)
        {
            (string Name, Tensor View)[] views = [.. master.Named(flat)];
            using var writer = new SafeTensorsWriter(
                file, views.Select(v => new TensorInfo(v.Name, ElementType.Float32, v.View.shape)), metadata);
            foreach (TensorInfo info in writer.Order)
            {
                writer.Append(info.Name, views.First(v => v.Name == info.Name).View);
            }

            writer.Commit();
            foreach ((_, Tensor view) in views)
            {
                view.Dispose();
            }
        }
    }

    /// <summary>Removes the result of a stage that has been extended since.</summary>
    public static void Delete(string folder)
    {
        File.Delete(PathIn(folder));
        File.Delete(LastOf(PathIn(folder)));
    }

    /// <summary>Fills a network with the weights that a stage starts from.</summary>
    /// <exception cref="RefusedFileException">The weights are missing, damaged or of another network.</exception>
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
                file, "file", "is missing: the stage that this one starts from is not complete.");
        }

        // Weights only: the position table is this stage's own, and the optimizer starts with zero moments.
        using IWeightSource source = WeightFile.Open(file).FindModel("dit");
        StrictLoader.Load(network, source, ignore: ["pos_embed", "mask_token"], checkFinite: true);
    }

    private static string LastOf(string result) => Path.ChangeExtension(result, ".last.safetensors");
}
