// Wrong command lines: each is rejected with a message that names the place and says what would be right.
using System.CommandLine;
using Atelier.Cli.Commands;

namespace Atelier.Cli.Tests;

/// <summary>Most messages are produced without running anything, so they are checked in this process.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData(
        "frobnicate",
        "There is no command \"frobnicate\"; atelier has up, status, tenants, blobs, runs, verify, generate, train, "
        + "data, models, eval, bench, demo and test.")]
    [InlineData("models", "atelier models needs a command: import, list, inspect or unpublish.")]
    [InlineData("models lst", "There is no command \"lst\"; atelier models has import, list, inspect and "
        + "unpublish.")]
    [InlineData("generate cat", "--output FILE is missing. See atelier generate --help.")]
    [InlineData("generate -o a.png", "PROMPT is missing. See atelier generate --help.")]
    [InlineData("generate cat -o", "-o needs a value: FILE. See atelier generate --help.")]
    [InlineData("generate cat -o a.png -o b.png", "-o is given more than once.")]
    [InlineData(
        "generate red cat -o a.png",
        "\"cat\" is unexpected: atelier generate takes only PROMPT; put text with spaces in quotes.")]
    [InlineData("up --port 0", "--port is \"0\"; it must be a whole number from 1 to 65535.")]
    [InlineData("up --silos 17", "--silos is \"17\"; it must be a whole number from 1 to 16.")]
    [InlineData("up --threads x", "--threads is \"x\"; it must be a whole number from 1 to 1024.")]
    [InlineData("up now", "\"now\" is unexpected: atelier up takes only options.")]
    [InlineData("tenants", "atelier tenants needs a command: list, put, close or keys.")]
    [InlineData("tenants keys", "atelier tenants keys needs a command: list, add or revoke.")]
    [InlineData("tenants put", "TENANT is missing. See atelier tenants put --help.")]
    [InlineData("tenants put a --weight 0", "--weight is \"0\"; it must be a number from 1 to 1000.")]
    [InlineData("tenants keys revoke a", "KEY is missing. See atelier tenants keys revoke --help.")]
    [InlineData("bench model 3", "\"3\" is unexpected: atelier bench model takes only options.")]
    [InlineData("models inspect --jsn x", "There is no option --jsn; atelier models inspect has --json and --help.")]
    [InlineData("bench model --rounds 0", "--rounds is \"0\"; it must be a whole number from 1 to 1000.")]
    [InlineData("bench model --preset XL", "--preset is \"XL\"; it must be Tiny_2 or XL_2.")]
    [InlineData("generate cat -o a.png --noise loud", "--noise is \"loud\"; it must be seeded or reference.")]
    [InlineData("generate cat -o a.png --steps 1e2", "--steps is \"1e2\"; it must be a whole number from 1 to 1000.")]
    [InlineData(
        "generate cat -o a.png --steps 9999999999",
        "--steps is \"9999999999\"; it must be a whole number from 1 to 1000.")]
    [InlineData("generate cat -o a.png --churn -0.5", "--churn is \"-0.5\"; it must be a number from 0 to 1000.")]
    [InlineData("generate cat -o a.png --guidance 1,5", "--guidance is \"1,5\"; it must be a number from 1 to 100.")]
    [InlineData(
        "generate cat -o a.png --guidance-interval 3 1",
        "--guidance-interval is \"3 1\"; it must be two numbers, LOW HIGH, with 0 <= LOW <= HIGH.")]
    [InlineData(
        "generate cat -o a.png --guidance-interval 1",
        "--guidance-interval is \"1\"; it must be two numbers, LOW HIGH, with 0 <= LOW <= HIGH.")]
    public void WrongUse_IsOneMessage(string line, string sentence) =>
        Assert.Equal([sentence], Usage.Problems(AtelierCommand.Parse(line.Split(' '))));

    [Fact]
    public void EverythingMissing_IsReportedAtOnce() => Assert.Equal(
        [
            "--denoiser FILE is missing. See atelier models import --help.",
            "--autoencoder DIR is missing. See atelier models import --help.",
            "--clip FILE is missing. See atelier models import --help.",
            "--vocabulary FILE is missing. See atelier models import --help.",
        ],
        Usage.Problems(AtelierCommand.Parse("models", "import", "x")));

    [Fact]
    public void EmptyPath_IsRefused() => Assert.Equal(
        ["--model is \"\", which is not a path."],
        Usage.Problems(AtelierCommand.Parse("generate", "cat", "-o", "a.png", "--model", "")));

    // The parser would take the misspelled option for the prompt, and draw it.
    [Fact]
    public void MisspelledOption_IsNotTakenForThePrompt() =>
        Assert.StartsWith(
            "There is no option --stpes; ",
            Usage.Problems(AtelierCommand.Parse("generate", "--stpes", "3", "-o", "a.png"))[0]);

    [Theory]
    [InlineData("@alice at the door")]
    [InlineData("[diagram]")]
    [InlineData("- a list -")]
    [InlineData("-5 degrees")]
    [InlineData("help")]
    public void Prompt_MayStartWithAnything(string prompt)
    {
        ParseResult parsed = AtelierCommand.Parse("generate", prompt, "-o", "a.png");
        Assert.Empty(Usage.Problems(parsed));
        Assert.Equal(prompt, parsed.GetValue<string>("PROMPT"));
    }

    [Fact]
    public void AfterTwoDashes_EverythingIsThePrompt() =>
        Assert.Empty(Usage.Problems(AtelierCommand.Parse("generate", "-o", "a.png", "--", "--steps")));

    [Fact]
    public async Task WrongUse_GoesToStandardError_WithoutTheWholeHelp()
    {
        ProgramRun run = await AtelierProgram.RunAsync(Path.GetTempPath(), "frobnicate");
        run.FailedSaying("There is no command \"frobnicate\"");
        Assert.Single(run.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }
}
