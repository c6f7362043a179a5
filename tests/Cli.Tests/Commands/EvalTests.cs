// atelier eval clip: each picture is scored with its own caption, and captions that the text encoder truncates are
// reported.
using System.Text.Json;
using Atelier.Model.Clip;
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Model.Weights;
using TorchSharp;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Runs the program with a CLIP of toy size on a folder of pictures.</summary>
public sealed class EvalTests(TinyModel model) : IDisposable
{
    // More than the command reads at a time.
    private const int Pictures = 18;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Clip_ScoresEachPictureWithItsCaption_AndReportsTruncatedCaptions()
    {
        for (int i = 0; i < Pictures; i++)
        {
            _folder.Write($"pictures/{i:d2}.txt", i is 3 or 17 ? "abcdefghijklmn whale" : $"the red fox {i}");
            byte[] pixels = [.. Enumerable.Range(0, 3 * 28 * 28).Select(n => (byte)(n * ((7 * i) + 3)))];
            using FileStream png = File.Create(_folder[$"pictures/{i:d2}.png"]);
            Png.Write(png, pixels, 28, 28, []);
        }

        // An imported model has only the text tower.
        string weights = Path.Combine(model.Published, "open_clip.safetensors");
        string whole = _folder.Copy(model.Folder, "whole");
        File.Copy(weights, Path.Combine(whole, "text_encoder.safetensors"), overwrite: true);
        TinyModel.UpdateDigest(whole, "text_encoder");
        ProgramRun run = (await AtelierProgram.RunAsync(
            _folder.Path, "eval", "clip", "pictures", "--model", "whole", "--json", "report.json")).Succeeded();

        JsonElement report = _folder.Json("report.json"), cut = report.GetProperty("cut");
        double score = report.GetProperty("clipScore").GetDouble(), expected = Expected(weights);
        Assert.True(expected > 0.01);
        Assert.Equal(expected, score, 1e-3 * expected);
        Assert.Matches("^CLIP score [0-9.]+ \\(18 pictures\\)$", Assert.Single(run.Lines));
        Assert.Equal(2, cut.GetProperty("count").GetInt64());
        Assert.Equal(
            [3L, 17L], cut.GetProperty("first").EnumerateArray().Select(one => one.GetProperty("picture").GetInt64()));
        foreach (int picture in new[] { 3, 17 })
        {
            Assert.Contains(
                $"warning: The caption of picture {picture} is too long: it has 19 tokens, and the text encoder uses "
                + "14. The text from \"whale\" on has no effect.", run.Error);
        }

        Assert.Contains("2 captions were too long for the text encoder and were truncated", run.Error);
    }

    // One picture after the other.
    private double Expected(string weights)
    {
        using var noGradients = torch.inference_mode();
        using var scope = torch.NewDisposeScope();
        using var clip = new ClipModel(ClipConfig.Read(Path.Combine(model.Published, "open_clip_config.json")));
        using (IWeightSource source = WeightFile.Open(weights))
        {
            StrictLoader.Load(clip, source);
        }

        ClipTokenizer tokenizer = ClipTokenizer.Load(Path.Combine(model.Published, "vocabulary.txt.gz"), 16);
        using StoredPictures set = StoredPictures.Open(_folder["pictures"], new PictureColumns());
        return Enumerable.Range(0, Pictures).Average(i =>
        {
            long[] ids = [.. tokenizer.Encode(set.Caption(i)).Select(id => (long)id)];
            torch.Tensor image = clip.EncodeImage(
                torch.tensor(ClipPreprocess.Run(set.Picture(i, 28), 28), [1, 3, 28, 28]));
            torch.Tensor text = clip.EncodeText(torch.tensor(ids, [1, 16]));
            return Math.Max(0, ClipModel.Score(image, text).item<float>());
        });
    }
}
