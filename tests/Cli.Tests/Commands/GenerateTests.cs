// atelier generate: the bytes are a function of the command, the PNG says how to make it again, and invalid requests
// are rejected before anything is written.
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Runs the program with a model of toy size.</summary>
public sealed class GenerateTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task SameCommandTwice_GivesTheSameBytes()
    {
        byte[] first = await DrawAsync("a.png"), second = await DrawAsync("b.png"), other = await DrawAsync(
            "c.png", "--seed", "1");
        Assert.Equal(first, second);
        Assert.NotEqual(first, other);
        Assert.Equal(["a.png", "b.png", "c.png"], _folder.Content);
    }

    // A shell passes bytes as typed; the runtime would replace them by U+FFFD.
    [Theory]
    [InlineData("generate \"$(printf 'caf\\351 by night')\" -o a.png --model nowhere", 2, 3, "E9")]
    [InlineData("generate fox --negative \"$(printf '\\303')\" -o a.png --cluster http://x --key k", 4, 0, "C3")]
    [InlineData("train stage.yaml \"$(printf 'panel.prompts=\\222')\"", 3, 14, "92")]
    public async Task ArgumentThatIsNotUtf8_IsRefused_ByItsByte(string command, int argument, int place, string value)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "Atelier.Cli");
        using Process shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", $"exec '{program}' {command}"])
        {
            WorkingDirectory = _folder.Path, UseShellExecute = false, RedirectStandardError = true,
        })!;
        string error = await shell.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await shell.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(1, shell.ExitCode);
        Assert.StartsWith($"atelier: Argument {argument}, \"", error);
        Assert.EndsWith(
            $"\", is not UTF-8: byte {place} is {value}. Use a terminal that is set to UTF-8.\n", error);
        Assert.Empty(_folder.Content);
    }

    [Fact]
    public async Task AReplacementCharacterThatWasTyped_IsDrawn()
    {
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "generate", "a \uFFFD", "-o", "-", "--model", model.Folder, "--steps", "1");
        using JsonDocument parameters = JsonDocument.Parse(Parameters(run.Succeeded().Bytes));
        Assert.Equal("a \uFFFD", parameters.RootElement.GetProperty("prompt").GetString());
    }

    [Theory]
    [InlineData("text_encoder", "transformer.", float.NaN, "text encoder")]
    [InlineData("denoiser", "blocks.0.", float.NaN, "denoiser")]
    [InlineData("autoencoder", "decoder.conv_in", float.NaN, "decoder")]
    [InlineData("autoencoder", "decoder.", 1e30f, "decoder")]
    public async Task APartThatReturnsNaN_IsNamed_AndNoPictureIsWritten(
        string file, string tensors, float value, string part)
    {
        TinyModel.Fill(_folder.Copy(model.Folder, "spoiled"), file, tensors, value);
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "generate", "a red fox", "-o", "a.png", "-n", "2", "--model", "spoiled");
        Assert.Equal((1, ""), (run.ExitCode, run.Output));
        Assert.Contains($"atelier: The {part} of the model tiny gave ", run.Error);
        Assert.DoesNotContain("Exception", run.Error);
        Assert.DoesNotContain(_folder.Content, name => name.EndsWith(".png", StringComparison.Ordinal));
    }

    [Fact]
    public async Task SeveralPictures_AreThoseOfTheFollowingSeeds()
    {
        await AtelierProgram.RunAsync(_folder.Path, Command("many.png", "--seed", "18446744073709551615", "-n", "2"));
        Assert.Equal(["many-1.png", "many-2.png"], _folder.Content);
        Assert.Equal(await DrawAsync("last.png", "--seed", "18446744073709551615"), await ReadAsync("many-1.png"));
        Assert.Equal(await DrawAsync("zero.png", "--seed", "0"), await ReadAsync("many-2.png"));
    }

    [Fact]
    public async Task StandardOutput_GetsThePngAlone()
    {
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, Command("-"));
        Assert.Equal(await DrawAsync("a.png"), run.Succeeded().Bytes);
        Assert.Contains("drawing: 100 %", run.Error);
    }

    [Theory]
    [InlineData("plain")]
    [InlineData(
        "all", "--steps", "4", "--guidance", "3.5", "--churn", "7", "--negative", "blue, \"blurred\" 🌫",
        "--guidance-interval", "0.3", "20", "--seed", "9007199254740993")]
    [InlineData("unguided", "--guidance", "1", "--steps", "1")]
    [InlineData("reference", "--noise", "reference", "--size", "16x16")]
    public async Task ParametersInThePng_MakeItAgain(string name, params string[] options)
    {
        byte[] png = await DrawAsync($"{name}.png", options);
        using JsonDocument parameters = JsonDocument.Parse(Parameters(png));
        JsonElement root = parameters.RootElement;
        Assert.Equal(ModelFolder.Open(model.Folder).Digest, Text("digest"));
        string[] interval = root.TryGetProperty("guidanceLow", out _)
            ? ["--guidance-interval", Text("guidanceLow"), Text("guidanceHigh")] : [];
        ProgramRun again = await AtelierProgram.RunAsync(_folder.Path, [
            "generate", Text("prompt"), "-o", "-", "--model", model.Folder, "--seed", Text("seed"), "--steps",
            Text("steps"),
            "--guidance", Text("guidance"), "--churn", Text("churn"), "--negative", Text("negative"), "--noise",
            Text("noise"),
            "--size", Text("size"), .. interval,
        ]);
        Assert.Equal(png, again.Succeeded().Bytes);

        string Text(string member) => root.GetProperty(member).ToString();
    }

    [Fact]
    public async Task EveryOption_ChangesThePicture()
    {
        string[][] options =
        [
            [], ["--seed", "5"], ["--steps", "4"], ["--guidance", "4"], ["--churn", "5"], ["--negative", "red"],
            ["--guidance-interval", "0.5", "5"], ["--noise", "reference"],
        ];
        var pictures = new HashSet<string>();
        foreach (string[] option in options)
        {
            RgbImage picture = ImageCodec.Decode(await DrawAsync("x.png", option));
            Assert.Equal((TinyModel.Resolution, TinyModel.Resolution), (picture.Width, picture.Height));
            Assert.True(
                pictures.Add(Convert.ToHexString(picture.Pixels)), $"{string.Join(' ', option)} changed nothing");
        }
    }

    [Fact]
    public async Task AnyText_CanBeDrawn()
    {
        string[] prompts =
            ["🦊🌧️👩‍👩‍👧🇩🇪", "<|endoftext|>", "@file", "名前のない猫", "%s \\ \" '", new string('x', 32_000)];
        foreach (string prompt in prompts)
        {
            ProgramRun run = await AtelierProgram.RunAsync(
                _folder.Path, "generate", prompt, "-o", "-", "--model", model.Folder);
            using JsonDocument parameters = JsonDocument.Parse(Parameters(run.Succeeded().Bytes));
            Assert.Equal(prompt, parameters.RootElement.GetProperty("prompt").GetString());
        }
    }

    // This model's text encoder takes 14 tokens.
    [Fact]
    public async Task PromptThatIsCut_IsReportedOnStandardError()
    {
        string[] options = ["-o", "-", "--model", model.Folder, "--negative", "zz ZZ zz zz zz zz zz zz"];
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, ["generate", "abcdefghijklmn Whale", .. options]);
        run.Succeeded();
        Assert.Contains(
            "warning: The prompt is too long: it has 19 tokens, and the text encoder uses 14. The text from "
            + "\"whale\" on",
            run.Error);
        Assert.Contains("warning: The negative prompt is too long: it has 16 tokens", run.Error);
        run = await AtelierProgram.RunAsync(
            _folder.Path, ["generate", "abcdefghijklmn", .. options, "--guidance", "1"]);
        Assert.DoesNotContain("warning", run.Succeeded().Error);
    }

    public static TheoryData<string[], string> WrongOptions => new()
    {
        { ["--size", "100x100"], "--size is \"100x100\"; this model draws 16x16." },
        { ["--size", "0x0"], "--size is \"0x0\"; this model draws 16x16." },
        { ["--size", "abc"], "--size is \"abc\"; this model draws 16x16." },
        { ["--size", "16x8"], "--size is \"16x8\"; this model draws 16x16." },
        { ["--steps", "0"], "--steps is \"0\"; it must be a whole number from 1 to 1000." },
        { ["--steps", "1001"], "--steps is \"1001\"; it must be a whole number from 1 to 1000." },
        { ["--steps", "x"], "--steps is \"x\"; it must be a whole number from 1 to 1000." },
        { ["--seed", "-1"], "--seed is \"-1\"; it must be a whole number from 0 to 18446744073709551615." },
        { ["--seed", "18446744073709551616"], "it must be a whole number from 0 to 18446744073709551615." },
        { ["--guidance", "0.5"], "--guidance is \"0.5\"; it must be a number from 1 to 100." },
        { ["--guidance", "nan"], "--guidance is \"nan\"; it must be a number from 1 to 100." },
        { ["--guidance", "1e9"], "--guidance is \"1e9\"; it must be a number from 1 to 100." },
        { ["-n", "0"], "-n is \"0\"; it must be a whole number from 1 to 64." },
        { ["--count", "65"], "--count is \"65\"; it must be a whole number from 1 to 64." },
        { ["-n", "2", "--noise", "reference"], "--noise reference draws one picture at a time" },
        { ["--model", "nowhere"], "--model is \"nowhere\", but there is no such folder" },
        { ["--model", "."], "model.json: is missing, so the folder is not a model." },
    };

    [Theory]
    [MemberData(nameof(WrongOptions))]
    public async Task WrongOption_IsRefused_AndNothingIsWritten(string[] options, string sentence)
    {
        string[] weights = options[0] == "--model" ? [] : ["--model", model.Folder];
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, ["generate", "a cat", "-o", "a.png", .. weights, .. options]);
        run.FailedSaying(sentence);
        Assert.Empty(_folder.Content);
    }

    [Theory]
    [InlineData("", "The prompt is empty")]
    [InlineData(" \t\n ", "The prompt is empty")]
    [InlineData(40_000, "The prompt has 40000 characters, counted as Unicode code points; it may have at most 32000.")]
    public async Task WrongPrompt_IsRefused(object prompt, string sentence)
    {
        string text = prompt as string ?? new string('x', (int)prompt);
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "generate", text, "-o", "a.png", "--model", model.Folder);
        run.FailedSaying(sentence);
        Assert.Empty(_folder.Content);
    }

    // A shell cannot pass half a character, but other callers can. Here the first half is H, the second L.
    [Theory]
    [InlineData("half H", 5)]
    [InlineData("L", 0)]
    [InlineData("HLHHL", 2)]
    public void HalfACharacter_IsRefused(string prompt, int position)
    {
        string text = prompt.Replace('H', '\ud83d').Replace('L', '\udc00');
        var request = new GenerationRequest { Prompt = text, Size = TinyModel.Resolution };
        var error = Assert.Throws<ArgumentException>(() => request.Checked(TinyModel.Resolution));
        Assert.Contains(
            $"an unpaired surrogate is at position {position.ToString(CultureInfo.InvariantCulture)}",
            error.Message);
    }

    [Theory]
    [InlineData("missing/a.png", "-o is \"missing/a.png\", but there is no folder")]
    [InlineData(".", "-o is \".\", which is not the name of a file.")]
    [InlineData("new/", "-o is \"new/\", which is not the name of a file.")]
    [InlineData("", "-o is \"\", which is not the name of a file.")]
    [InlineData("a.jpg", "pictures are written as PNG: use a.png.")]
    [InlineData("/proc/a.png", "-o is \"/proc/a.png\", but it cannot be written")]
    public async Task OutputThatCannotBeWritten_IsRefusedBeforeDrawing(string output, string sentence)
    {
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, Command(output));
        run.FailedSaying(sentence);
        Assert.DoesNotContain("drawing", run.Error);
        Assert.Empty(_folder.Content);
    }

    [Fact]
    public async Task SeveralPictures_DoNotFitStandardOutput() =>
        (await AtelierProgram.RunAsync(_folder.Path, Command("-", "-n", "2"))).FailedSaying(
            "omit -n, or give a file name.");

    [Fact]
    public async Task Device_IsWrittenTo_NotReplaced()
    {
        (await AtelierProgram.RunAsync(_folder.Path, Command("/dev/null"))).Succeeded();
        Assert.Equal(0, new FileInfo("/dev/null").Length);
        ProgramRun full = await AtelierProgram.RunAsync(_folder.Path, Command("/dev/full"));
        Assert.Equal(1, full.ExitCode);
        Assert.Contains("atelier: ", full.Error);
    }

    [Fact]
    public async Task ExistingPicture_IsReplacedOnlyByACompleteOne()
    {
        byte[] first = await DrawAsync("a.png");
        (await AtelierProgram.RunAsync(_folder.Path, Command("a.png", "--steps", "0"))).FailedSaying("--steps");
        Assert.Equal(first, await ReadAsync("a.png"));
        Assert.NotEqual(first, await DrawAsync("a.png", "--seed", "3"));
    }

    [Fact]
    public async Task Interrupted_LeavesNothing()
    {
        using Process process = AtelierProgram.Start(_folder.Path, Command("a.png", "--steps", "1000", "-n", "8"));
        string? line = await process.StandardError.ReadLineAsync(TestContext.Current.CancellationToken);
        Assert.Equal("drawing: 0 %", line);
        Signals.Send(process.Id, Signals.Terminate);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(130, process.ExitCode);
        Assert.Empty(_folder.Content);
    }

    private static string Parameters(byte[] png)
    {
        using var stream = new MemoryStream(png);
        return Assert.Single(Png.ReadTexts(stream), text => text.Keyword == "parameters").Text;
    }

    private string[] Command(string output, params string[] options) =>
        ["generate", "the red fox", "-o", output, "--model", model.Folder, .. options];

    private async Task<byte[]> DrawAsync(string file, params string[] options)
    {
        (await AtelierProgram.RunAsync(_folder.Path, Command(file, options))).Succeeded();
        return await ReadAsync(file);
    }

    private Task<byte[]> ReadAsync(string file) =>
        File.ReadAllBytesAsync(_folder[file], TestContext.Current.CancellationToken);
}
