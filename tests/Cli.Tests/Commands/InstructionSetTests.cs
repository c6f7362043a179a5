// Goal: on processors with fewer instructions than this one, training and drawing complete in both precisions, a
// stopped training ends with the bytes of an uninterrupted one, and the numbers match this processor's to within
// rounding. Method: the real program, whose libraries are restricted by environment variables, with a model and stages
// of toy size.
using System.Runtime.Intrinsics.X86;
using System.Text.Json;
using Atelier.Model.Imaging;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Runs the program once for each instruction set, from this processor's own downwards.</summary>
public sealed class InstructionSetTests(TinyModel model) : IDisposable
{
    private const int Steps = 8, StopAfter = 3;
    private static readonly string[] s_precisions = ["float32", "bfloat16"];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task TrainingAndDrawing_OnEverySetOfInstructionsBelowThisProcessors_AgreeWithIt()
    {
        TrainTests.WriteData(_folder["data"]);
        foreach (string precision in s_precisions)
        {
            WriteStage($"all/{precision}-whole.yaml", precision, $"{precision}-whole", Steps);
            WriteStage($"all/{precision}-parts.yaml", precision, $"{precision}-parts", StopAfter);
            WriteStage($"rest/{precision}-parts.yaml", precision, $"{precision}-parts", Steps);
        }

        // In parallel: each takes one thread.
        Outcome[] outcomes = await Task.WhenAll(Sets().Select(RunAsync));
        Outcome own = outcomes[0];
        Assert.All(outcomes, outcome =>
        {
            // A wrong kernel is off by far more than eight steps of different summation order, or of bfloat16 rounding,
            // can be.
            AssertNear(own.Losses["float32"], outcome.Losses["float32"], 1e-4);
            AssertNear(own.Losses["bfloat16"], outcome.Losses["bfloat16"], 0.02);
            AssertNear(own.Losses["float32"], outcome.Losses["bfloat16"], 0.05);
            Assert.Equal(own.Picture.Pixels.Length, outcome.Picture.Pixels.Length);
            double difference = own.Picture.Pixels.Zip(outcome.Picture.Pixels)
                .Average(pair => Math.Abs((double)pair.First - pair.Second));
            Assert.InRange(difference, 0, 0.5);
        });
    }

    // The first is this processor without restrictions.
    private static IEnumerable<(string Name, Dictionary<string, string> Variables)> Sets()
    {
        yield return ("own", []);
        if (Avx2.IsSupported && Avx512F.IsSupported)
        {
            yield return ("avx2", Held("avx2", "AVX2"));
        }

        yield return ("sse", Held("default", "SSE41"));

        static Dictionary<string, string> Held(string ofTensors, string ofProducts) => new()
        {
            ["ATEN_CPU_CAPABILITY"] = ofTensors, ["ONEDNN_MAX_CPU_ISA"] = ofProducts,
        };
    }

    private async Task<Outcome> RunAsync((string Name, Dictionary<string, string> Variables) set)
    {
        string work = Directory.CreateDirectory(_folder[set.Name]).FullName;
        (await AtelierProgram.RunAsync(work, set.Variables, "train", "../all", "--threads", "1")).Succeeded();
        (await AtelierProgram.RunAsync(work, set.Variables, "train", "../rest", "--threads", "1")).Succeeded();
        (await AtelierProgram.RunAsync(
            work, set.Variables, "generate", "the red", "--model", model.Folder, "--seed", "3", "-o", "picture.png"))
            .Succeeded();
        var losses = new Dictionary<string, double[]>();
        foreach (string precision in s_precisions)
        {
            byte[] whole = await ResultAsync($"{precision}-whole"), parts = await ResultAsync($"{precision}-parts");
            Assert.Equal(whole, parts);
            string[] metrics = await File.ReadAllLinesAsync(
                Path.Combine(work, $"{precision}-whole", "metrics.jsonl"), TestContext.Current.CancellationToken);
            losses[precision] = [.. metrics.Select(Loss)];
            Assert.Equal(Steps, losses[precision].Length);
        }

        Assert.NotEqual(losses["float32"], losses["bfloat16"]);
        byte[] png = await File.ReadAllBytesAsync(
            Path.Combine(work, "picture.png"), TestContext.Current.CancellationToken);
        return new Outcome(losses, ImageCodec.Decode(png, set.Name));

        Task<byte[]> ResultAsync(string run) => File.ReadAllBytesAsync(
            Path.Combine(work, run, "final.safetensors"), TestContext.Current.CancellationToken);
    }

    private static double Loss(string line)
    {
        using JsonDocument json = JsonDocument.Parse(line);
        return json.RootElement.GetProperty("loss").GetDouble();
    }

    private static void AssertNear(double[] expected, double[] actual, double tolerance) => Assert.All(
        expected.Zip(actual), pair => Assert.InRange(pair.Second / pair.First, 1 - tolerance, 1 + tolerance));

    private void WriteStage(string file, string precision, string run, int steps) => _folder.Write(
        file,
        TrainTests.Stage
            .Replace("dtype: float32", $"dtype: {precision}", StringComparison.Ordinal)
            .Replace("name: cosine", "name: constant", StringComparison.Ordinal)
            .Replace("datadir: [data]", "datadir: [../data]", StringComparison.Ordinal)
            .Replace("400ba", FormattableString.Invariant($"{steps}ba"), StringComparison.Ordinal)
            .Replace("save_folder: run", $"save_folder: {run}", StringComparison.Ordinal));

    private sealed record Outcome(Dictionary<string, double[]> Losses, RgbImage Picture);
}
