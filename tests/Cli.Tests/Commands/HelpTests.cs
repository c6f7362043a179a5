// The help of every verb is checked in, so that a change of the command line is visible in review.
using System.CommandLine;
using System.Runtime.CompilerServices;
using Atelier.Cli.Commands;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Compares docs/help with what the program prints; with ATELIER_ACCEPT=1 rewrites it.</summary>
public sealed class HelpTests
{
    private static readonly string s_docs = FindDocs();

    private static readonly bool s_accept = Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1";

    public static TheoryData<string> Verbs => [.. Below(AtelierCommand.Create(), "")];

    [Theory]
    [MemberData(nameof(Verbs))]
    public async Task Help_OfEveryVerb_IsCheckedIn(string verb)
    {
        string[] words = verb.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        ProgramRun run = await AtelierProgram.RunAsync(Path.GetTempPath(), [.. words, "--help"]);
        string text = string.Concat(run.Succeeded().Output.TrimEnd().Split('\n').Select(line => line.TrimEnd() + "\n"));
        string file = Path.Combine(s_docs, FileName(verb));
        if (s_accept)
        {
            Directory.CreateDirectory(s_docs);
            await File.WriteAllTextAsync(file, text, TestContext.Current.CancellationToken);
        }

        Assert.Contains($"Usage:\n  {$"atelier {verb}".TrimEnd()} ", text);
        Assert.DoesNotContain("Atelier.Cli", text);
        Assert.True(File.Exists(file), $"{file} is not there; run the tests with ATELIER_ACCEPT=1 and look at it.");
        Assert.Equal(await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken), text);
    }

    [Fact]
    public void Help_OfRemovedVerbs_IsGone()
    {
        if (!s_accept)
        {
            Assert.Equal(
                Below(AtelierCommand.Create(), "").Select(FileName).Order(StringComparer.Ordinal),
                Directory.GetFiles(s_docs).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal));
        }
    }

    [Fact]
    public async Task NoArguments_ShowTheHelp()
    {
        ProgramRun bare = await AtelierProgram.RunAsync(Path.GetTempPath());
        ProgramRun help = await AtelierProgram.RunAsync(Path.GetTempPath(), "--help");
        Assert.Equal(help.Succeeded().Output, bare.Succeeded().Output);
        Assert.Empty(bare.Error);
    }

    private static IEnumerable<string> Below(Command command, string name) =>
        command.Subcommands.SelectMany(sub => Below(sub, $"{name} {sub.Name}".TrimStart())).Prepend(name);

    private static string FileName(string verb) => $"{$"atelier {verb}".TrimEnd().Replace(' ', '-')}.txt";

    private static string FindDocs([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "..", "docs", "help"));
}
