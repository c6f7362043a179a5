// atelier verify: compares results with those of the reference implementation.
using System.CommandLine;
using System.Globalization;
using Atelier.Cli.Verify;

namespace Atelier.Cli.Commands;

internal static class VerifyCommand
{
    private const string ReferenceFolder = "tests/reference";

    // The rows of most cases fit into 80 columns.
    private static readonly int[] s_widths = [4, 32, -8, -7, -7, -7];

    public static Command Create()
    {
        var folder = new Argument<DirectoryInfo>("DIR")
        {
            Description = "Folder of all cases (topic folder / case folder / case.json), of one topic, or of one case; "
                + $"by default {ReferenceFolder}.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Option<FileInfo> json = Choices.Json();
        var command = new Command("verify", "Runs reference cases and prints each one's error.") { folder, json };
        command.SetAction(parsed =>
            Run(parsed.GetValue(folder) ?? new DirectoryInfo(Home.At(ReferenceFolder)), parsed.GetValue(json)));
        return command;
    }

    private static int Run(DirectoryInfo folder, FileInfo? json)
    {
        if (!folder.Exists)
        {
            throw new UserErrorException(File.Exists(folder.FullName)
                ? $"{folder} is a file; give the folder of a case, or a folder of such folders."
                : $"There is no folder {folder}.");
        }

        OutputFile.CheckJson(json);

        // Cases may take minutes each, so every row is printed as soon as it is available.
        Output.Line(Output.Columns(["", "case", "compared", "error", "allowed", "seconds"], s_widths));
        var results = new List<CaseResult>();
        foreach (CaseResult result in Verifier.Run(folder.FullName))
        {
            results.Add(result);
            Output.Line(Output.Columns(
                [
                    result.Passed ? "ok" : result.Skipped ? "skip" : "FAIL", result.Name,
                    result.Compared.ToString(CultureInfo.InvariantCulture),
                    Number(result, result.Error), Number(result, result.Tolerance),
                    result.Seconds.ToString("f2", CultureInfo.InvariantCulture),
                ],
                s_widths));
            if (result.Remark is { } remark)
            {
                Output.Line($"       {remark}");
            }

            foreach (string failure in result.Failures.Take(5))
            {
                Output.Line($"       {failure}");
            }

            if (result.Failures.Count > 5)
            {
                Output.Line($"       and {result.Failures.Count - 5} more");
            }
        }

        int passed = results.Count(result => result.Passed), skipped = results.Count(result => result.Skipped);
        int failed = results.Count - passed - skipped;
        if (results.Count == 0)
        {
            Output.Line($"There are no cases in {folder}.");
            failed = 1;
        }

        Output.Json(json, results);
        Output.Line($"{passed} passed, {failed} failed" + (skipped == 0 ? "" : $", {skipped} skipped"));
        return failed == 0 ? 0 : 1;
    }

    private static string Number(CaseResult result, double? value) => (result.Compared, value) switch
    {
        (0, _) => "",
        (_, null) => "exact",
        _ => value.Value.ToString("0.0e+00", CultureInfo.InvariantCulture),
    };
}
