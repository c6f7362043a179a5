// atelier data precompute: networks that give no numbers make no training data.
using Atelier.Model.Imaging;

namespace Atelier.Cli.Tests;

/// <summary>Runs the program with a model of toy size on pictures of a folder.</summary>
public sealed class PrecomputeTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("text_encoder", "transformer.", "caption_latents of picture 0 holds ")]
    [InlineData("autoencoder", "encoder.", "latents_16 of picture 0 holds ")]
    public async Task NetworkThatGivesNoNumbers_IsRefused_WithTheColumnAndThePicture(
        string file, string tensors, string says)
    {
        for (int i = 0; i < 12; i++)
        {
            _folder.Write($"pictures/{i:d2}.txt", "a red fox");
            byte[] pixels = [.. Enumerable.Range(0, 3 * 16 * 16).Select(n => (byte)(n * (i + 3)))];
            using FileStream png = File.Create(_folder[$"pictures/{i:d2}.png"]);
            Png.Write(png, pixels, 16, 16, []);
        }

        _folder.Write("pictures/03.txt", "abcdefghijklmn whale");
        ProgramRun sound = await RunAsync("sound", model.Folder);
        sound.Succeeded();
        Assert.Contains("warning: The caption of picture 3 is cut: it has 19 tokens, and the text encoder takes 14.", sound.Error);
        Assert.Contains("1 captions are longer than the text encoder takes, and were cut", sound.Error);
        Assert.False(File.Exists(_folder["sound/skipped.json"]));
        TinyModel.Fill(_folder.Copy(model.Folder, "spoiled"), file, tensors, 1e30f);
        ProgramRun run = await RunAsync("latents", "spoiled");
        Assert.Equal((1, ""), (run.ExitCode, run.Output));
        Assert.Contains(
            "atelier: The networks gave no numbers for 12 of 12 pictures, more than the 1 that may be skipped: ", run.Error);
        Assert.Contains(says, run.Error);
        Assert.DoesNotContain("Exception", run.Error);
        Assert.False(File.Exists(_folder["latents/index.json"]));
    }

    private Task<ProgramRun> RunAsync(string output, string folder) => AtelierProgram.RunAsync(
        _folder.Path, "data", "precompute", output, "--pictures", "pictures", "--model", folder, "--size", "16",
        "--workers", "1", "--compute", "float32");
}
