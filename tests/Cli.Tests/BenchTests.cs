// atelier bench: that it measures and tells; never how fast.
using System.Text.Json;

namespace Atelier.Cli.Tests;

/// <summary>The smallest load there is.</summary>
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
        using JsonDocument json = JsonDocument.Parse(await File.ReadAllBytesAsync(_folder["b.json"], TestContext.Current.CancellationToken));
        Assert.Equal(JsonValueKind.Null, json.RootElement.GetProperty("network").ValueKind);
        JsonElement figures = Assert.Single(json.RootElement.GetProperty("experts").EnumerateArray());
        Assert.All(["gather", "oneHot", "gatherTraining", "oneHotTraining"], name => Assert.True(figures.GetProperty(name).GetDouble() > 0));
    }

    [Theory]
    [InlineData("model", "--latent", "33", "multiple of patch_size")]
    [InlineData("model", "--json", "missing/b.json", "--json is \"missing/b.json\", but there is no folder")]
    [InlineData("memory", "--json", "missing/b.json", "--weights FILE is missing")]
    public async Task WrongLoad_IsRefused(string what, string option, string value, string sentence) =>
        (await AtelierProgram.RunAsync(_folder.Path, "bench", what, option, value)).FailedSaying(sentence);
}
