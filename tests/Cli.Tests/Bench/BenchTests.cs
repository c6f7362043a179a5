// atelier bench measures and prints results; the tests never check speed.
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Atelier.Cli.Tests.Bench;

/// <summary>The smallest possible load.</summary>
public sealed class BenchTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task ModelBench_PrintsATable_AndWritesItAsJson()
    {
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "bench", "model", "--experts", "--sizes", "1", "--rounds", "1", "--json", "b.json");
        Assert.Equal(3, run.Succeeded().Lines.Length);
        Assert.StartsWith("  D    F  tokens  batch", run.Lines[1]);
        Assert.StartsWith("512  512     256      8", run.Lines[2]);
        JsonElement json = _folder.Json("b.json");
        Assert.Equal(JsonValueKind.Null, json.GetProperty("network").ValueKind);
        JsonElement figures = Assert.Single(json.GetProperty("experts").EnumerateArray());
        Assert.All(
            ["gather", "oneHot", "gatherTraining", "oneHotTraining"],
            name => Assert.True(figures.GetProperty(name).GetDouble() > 0));
    }

    // Without bfloat16 instructions, or with them disabled, its matrix products would take minutes.
    [Fact]
    public async Task GpuBench_RunsOnACpu_WithTinyLoads()
    {
        var environment = new Dictionary<string, string> { ["ONEDNN_MAX_CPU_ISA"] = "AVX2" };
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, environment, "bench", "gpu", "--device", "cpu", "--preset", "Tiny_2", "--json", "b.json");
        Assert.StartsWith("Tiny_2 in float32 on cpu", run.Succeeded().Lines[0]);
        Assert.Equal(4, run.Lines.Count(line => line.StartsWith("train step, ", StringComparison.Ordinal)));
        JsonElement json = _folder.Json("b.json");
        Assert.Equal(
            [4, 16, 16, 64], json.GetProperty("stages").EnumerateArray().Select(s => s.GetProperty("kept").GetInt32()));
        Assert.All(json.GetProperty("stages").EnumerateArray(), stage => Assert.All(
            ["forward", "trainStep"],
            name => Assert.True(stage.GetProperty(name).GetProperty("rate").GetDouble() > 0)));
        Assert.All(
            json.GetProperty("denoiser").EnumerateArray(),
            speed => Assert.True(speed.GetProperty("picturesPerSecond").GetDouble() > 0));
    }

    [Fact]
    public async Task GpuBench_WithoutAGpu_SaysSo()
    {
        Assert.SkipWhen(NativeLibrary.TryLoad("libcuda.so.1", out _), "There is a GPU's driver here.");
        (await AtelierProgram.RunAsync(_folder.Path, "bench", "gpu"))
            .FailedSaying("This machine has no NVIDIA GPU, or the GPU's driver");
    }

    [Theory]
    [InlineData("model", "--latent", "33", "multiple of patch_size")]
    [InlineData("model", "--json", "missing/b.json", "--json is \"missing/b.json\", but there is no folder")]
    [InlineData("memory", "--json", "missing/b.json", "--weights FILE is missing")]
    public async Task WrongLoad_IsRefused(string what, string option, string value, string sentence) =>
        (await AtelierProgram.RunAsync(_folder.Path, "bench", what, option, value)).FailedSaying(sentence);
}
