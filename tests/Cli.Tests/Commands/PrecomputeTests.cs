// atelier data precompute: networks that return NaN produce no training data, and ambiguous input is rejected.
using System.Text;
using System.Text.Json;
using Atelier.Model.Data.Mds;
using Atelier.Model.Imaging;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Runs the program with a model of toy size on a folder of pictures.</summary>
public sealed class PrecomputeTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("text_encoder", "transformer.", "caption_latents of picture 0 holds ")]
    [InlineData("autoencoder", "encoder.", "latents_16 of picture 0 holds ")]
    public async Task NetworkThatReturnsNaN_IsRefused_WithTheColumnAndThePicture(
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
        ProgramRun sound = await RunAsync("sound", model.Folder, "--json", "report.json");
        sound.Succeeded();
        JsonElement cut = _folder.Json("report.json").GetProperty("cut");
        Assert.Equal(1, cut.GetProperty("count").GetInt64());
        JsonElement first = cut.GetProperty("first")[0];
        Assert.Equal(
            (3L, 19, 14),
            (first.GetProperty("picture").GetInt64(), first.GetProperty("tokens").GetProperty("given").GetInt32(),
                first.GetProperty("tokens").GetProperty("used").GetInt32()));
        Assert.Contains(
            "warning: The caption of picture 3 is too long: it has 19 tokens, and the text encoder uses 14.",
            sound.Error);
        Assert.Contains("1 captions were too long for the text encoder and were truncated", sound.Error);
        Assert.False(File.Exists(_folder["sound/skipped.json"]));
        TinyModel.Fill(_folder.Copy(model.Folder, "spoiled"), file, tensors, 1e30f);
        ProgramRun run = await RunAsync("latents", "spoiled");
        Assert.Equal((1, ""), (run.ExitCode, run.Output));
        Assert.Contains(
            "atelier: The networks gave NaN or infinity for 12 of 12 pictures, more than the 1 that may be skipped: ",
            run.Error);
        Assert.Contains(says, run.Error);
        Assert.DoesNotContain("Exception", run.Error);
        Assert.False(File.Exists(_folder["latents/index.json"]));
    }

    [Fact]
    public async Task TheSelection_IsPrinted()
    {
        WriteFolder("pictures", "a", "b");
        _folder.Write("pictures/c.bmp", "x");
        _folder.Write("pictures/c.txt", "a cat");
        Directory.CreateDirectory(_folder["pictures/more"]);
        ProgramRun run = (await RunAsync("latents", model.Folder, "--json", "report.json")).Succeeded();
        const string said = "pictures from the files of a folder, captions from text files beside them; "
            + "ignored 3 (c.bmp, c.txt, more/)";
        Assert.Equal([$"2 samples in latents: {said}"], run.Lines);
        Assert.Contains($"pictures: {said}\n", run.Error);
        JsonElement report = _folder.Json("report.json");
        Assert.Equal(2, report.GetProperty("samples").GetInt64());
        Assert.Equal(3, report.GetProperty("passedOver").GetProperty("count").GetInt32());
        Assert.Equal("more/", report.GetProperty("passedOver").GetProperty("first")[2].GetString());
    }

    [Fact]
    public async Task ColumnsThatCouldBeOthers_AreRefused_AndNamedOnesAreTaken()
    {
        WriteSet(
            "photos", ("author", "str", "Ann"), ("title", "str", "a red star"), ("jpg", "jpeg", ""),
            ("mask", "png", ""));
        (await RunAsync("latents", model.Folder, "photos")).FailedSaying(
            "photos: caption column: is ambiguous; name one of author (str), title (str).");
        (await RunAsync("latents", model.Folder, "photos", "--caption-column", "jpg")).FailedSaying(
            "photos: caption column: jpg holds jpeg, not str or json; the data set has ");
        Assert.False(Directory.Exists(_folder["latents"]));
        ProgramRun run = await RunAsync(
            "latents", model.Folder, "photos", "--caption-column", "title", "--picture-column", "mask");
        Assert.Equal(
            ["1 samples in latents: pictures from column mask (png), captions from column title (str)"],
            run.Succeeded().Lines);
        using (var latents = new MdsDataset(_folder["latents"]))
        {
            Assert.Equal("a red star", latents[0].Get<string>("caption"));
        }

        ProgramRun inspected = await AtelierProgram.RunAsync(_folder.Path, "data", "inspect", "photos");
        Assert.Contains(
            "caption column: is ambiguous; name one of author (str), title (str).",
            inspected.Succeeded().Lines);
        Assert.Contains("picture column: jpg", inspected.Lines);
    }

    [Fact]
    public async Task SetsOfTheReference_AreRead_AndPicturesAloneByWhatNeedsNoCaptions()
    {
        WriteSet("coco", ("jpg", "jpeg", ""), ("caption", "json", "\"a red star\""));
        (await RunAsync("latents", model.Folder, "coco")).Succeeded();
        using (var latents = new MdsDataset(_folder["latents"]))
        {
            Assert.Equal("a red star", latents[0].Get<string>("caption"));
        }

        WriteSet("alone", 2, ("jpg", "jpeg", ""));
        _folder.Write("inception.pth", "x");
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "eval", "fid", "alone", "coco", "--inception", "inception.pth");
        Assert.Contains("alone: pictures from column jpg (jpeg)\n", run.Error);
        Assert.Contains("atelier: coco has 1 picture; at least 2 are needed.", run.Error);
        run = await AtelierProgram.RunAsync(
            _folder.Path, "eval", "fid", "alone", "alone", "--inception", "inception.pth");
        Assert.Contains(
            "atelier: inception.pth: start: is not safetensors, ", run.Error.Replace(_folder.Path + "/", ""));
    }

    [Fact]
    public async Task SetWithoutSamples_IsRefused_AndNothingIsWritten()
    {
        WriteSet("empty", 0, ("caption", "str", ""), ("jpg", "jpeg", ""));
        (await RunAsync("latents", model.Folder, "empty")).FailedSaying("empty: samples: there are none.");
        Assert.False(Directory.Exists(_folder["latents"]));
    }

    [Fact]
    public async Task CaptionThatIsNotText_IsRefused_AndNothingIsWritten()
    {
        WriteFolder("pictures", "a", "b");
        await File.WriteAllBytesAsync(
            _folder["pictures/b.txt"], [.. "a caf"u8, 0xE9], TestContext.Current.CancellationToken);
        ProgramRun run = await RunAsync("latents", model.Folder);
        Assert.Equal(1, run.ExitCode);
        Assert.Contains("pictures/b.txt: byte 5: E9 is not UTF-8; ", run.Error);
        Assert.False(Directory.Exists(_folder["latents"]));
    }

    [Fact]
    public async Task CaptionsThatWereEdited_AreRefused()
    {
        WriteFolder("pictures", "a", "b");
        (await RunAsync("latents", model.Folder)).Succeeded();
        (await RunAsync("latents", model.Folder)).Succeeded();
        _folder.Write("pictures/a.txt", "a cat with a hat");
        ProgramRun run = await RunAsync("latents", model.Folder);
        Assert.Equal(1, run.ExitCode);
        Assert.Matches(
            "latents/recipe.json: captions: is [0-9a-f]{32} now; these latents were begun with [0-9a-f]{32}. Use",
            run.Error);
    }

    private Task<ProgramRun> RunAsync(string output, string folder, params string[] options)
    {
        string[] source = options is [var first, ..] && !first.StartsWith('-') ? options[..1] : ["pictures"];
        return AtelierProgram.RunAsync(
            _folder.Path,
            [
                "data", "precompute", output, "--pictures", source[0], "--model", folder, "--size", "16",
                "--workers", "1", "--compute", "float32", .. options.Where(option => option != source[0]),
            ]);
    }

    private void WriteFolder(string name, params string[] pictures)
    {
        foreach (string picture in pictures)
        {
            _folder.Write($"{name}/{picture}.txt", "a red fox");
            File.WriteAllBytes(_folder[$"{name}/{picture}.png"], PngFile());
        }
    }

    private void WriteSet(string name, params (string Column, string Encoding, string Text)[] columns) =>
        WriteSet(name, 1, columns);

    private void WriteSet(string name, int samples, params (string Column, string Encoding, string Text)[] columns)
    {
        var writer = new MdsWriter(
            _folder[name], columns.ToDictionary(column => column.Column, column => column.Encoding),
            new MdsWriteOptions());
        for (int i = 0; i < samples; i++)
        {
            writer.Write(columns.ToDictionary(column => column.Column, object (column) => column.Encoding switch
            {
                "jpeg" => ImageCodec.EncodeJpeg(new RgbImage(16, 16, new byte[3 * 16 * 16]), 90),
                "png" => PngFile(),
                _ => Encoding.UTF8.GetBytes(column.Text),
            }));
        }

        writer.Complete();
    }

    private static byte[] PngFile()
    {
        using var png = new MemoryStream();
        Png.Write(png, [.. Enumerable.Range(0, 3 * 16 * 16).Select(n => (byte)n)], 16, 16, []);
        return png.ToArray();
    }
}
