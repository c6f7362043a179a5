// The output of commands: tables and progress for people at a terminal, plain lines for pipes and logs, JSON for
// programs.
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;

namespace Atelier.Cli;

/// <summary>Prints the output of all commands in the same way.</summary>
internal static class Output
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    // Results go to standard output, progress and remarks to standard error, so that a pipe receives only results.
    private static readonly IAnsiConsole s_errors =
        AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });

    /// <summary>Whether standard output is a terminal.</summary>
    public static bool IsTerminal => !Console.IsOutputRedirected;

    /// <summary>Whether standard error, which shows progress, is a terminal.</summary>
    public static bool IsErrorTerminal => !Console.IsErrorRedirected;

    /// <summary>Prints one line of a result.</summary>
    public static void Line(string text = "") => Console.Out.WriteLine(text);

    /// <summary>Prints a remark to standard error.</summary>
    public static void Remark(string text) => Console.Error.WriteLine(text);

    /// <summary>
    /// Prints a table: framed on a terminal, otherwise as aligned columns. Numbers are right-aligned.
    /// </summary>
    public static void Table(IReadOnlyList<string> headings, IReadOnlyList<IReadOnlyList<string>> rows)
    {
        bool[] numeric = [.. headings.Select((_, i) => rows.All(row => IsNumber(row[i])))];
        if (IsTerminal)
        {
            var table = new Table { Border = TableBorder.Rounded };
            table.AddColumns([.. headings.Select((heading, i) => new TableColumn(Markup.Escape(heading))
            {
                Alignment = numeric[i] ? Justify.Right : Justify.Left,
            })]);
            foreach (IReadOnlyList<string> row in rows)
            {
                table.AddRow([.. row.Select(Markup.Escape)]);
            }

            AnsiConsole.Write(table);
            return;
        }

        int[] widths =
        [
            .. headings.Select((heading, i) =>
                rows.Select(row => row[i].Length).Append(heading.Length).Max() * (numeric[i] ? -1 : 1)),
        ];
        foreach (IReadOnlyList<string> row in rows.Prepend(headings))
        {
            Line(Columns(row, widths));
        }
    }

    /// <summary>Pads cells to widths and joins them; a negative width right-aligns its cell.</summary>
    public static string Columns(IReadOnlyList<string> cells, IReadOnlyList<int> widths) => string.Join(
        "  ", cells.Select((cell, i) => widths[i] < 0 ? cell.PadLeft(-widths[i]) : cell.PadRight(widths[i]))).TrimEnd();

    private static bool IsNumber(string cell) =>
        cell.Length == 0
        || double.TryParse(cell.Replace(" %", "", StringComparison.Ordinal), CultureInfo.InvariantCulture, out _);

    /// <summary>Writes a command's result to a file as JSON.</summary>
    public static void Json<T>(FileInfo? file, T value)
    {
        if (file is not null)
        {
            OutputFile.Write(file.FullName, JsonSerializer.SerializeToUtf8Bytes(value, s_json));
        }
    }

    /// <summary>
    /// Runs work that reports its progress as a fraction in [0, 1]. The progress is shown as a bar if standard error is
    /// a terminal, otherwise as a line per quarter.
    /// </summary>
    public static T WithProgress<T>(string label, Func<Action<double>, T> work)
    {
        if (!IsErrorTerminal)
        {
            int quarter = -1;
            return work(part =>
            {
                for (; quarter < (int)(4 * part); quarter++)
                {
                    Remark($"{label}: {25 * (quarter + 1)} %");
                }
            });
        }

        return s_errors.Progress()
            .Columns(
                new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .Start(context =>
            {
                ProgressTask task = context.AddTask(Markup.Escape(label), maxValue: 1);
                return work(part => task.Value = part);
            });
    }

    /// <summary>
    /// Runs work that reports its progress as a fraction in [0, 1] and a line of figures. Both are shown as a bar with
    /// the figures beside it if standard error is a terminal, otherwise as one line per report.
    /// </summary>
    public static void WithMeter(string label, Action<Action<double, string>> work)
    {
        if (!IsErrorTerminal)
        {
            work((_, figures) => Remark($"{label} {figures}"));
            return;
        }

        s_errors.Progress()
            .Columns(
                new ProgressBarColumn(), new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                ProgressTask task = context.AddTask(Markup.Escape(label), maxValue: 1);
                work((part, figures) =>
                {
                    task.Value = part;
                    task.Description = Markup.Escape($"{label} {figures}");
                });
            });
    }

    /// <summary>
    /// Like <see cref="WithMeter"/>, for work that mostly waits for a cluster. If standard error is not a terminal, it
    /// prints a line for each new state and each quarter.
    /// </summary>
    public static async Task WithMeterAsync(string label, Func<Action<double, string>, Task> work)
    {
        if (!IsErrorTerminal)
        {
            (int Quarter, string Word) last = (0, "");
            await work((part, figures) =>
            {
                (int, string) now = ((int)(4 * part), figures.Split(' ')[0]);
                if (now != last)
                {
                    last = now;
                    Remark($"{label}: {figures}");
                }
            });
            return;
        }

        await s_errors.Progress()
            .Columns(
                new ProgressBarColumn(), new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .StartAsync(async context =>
            {
                ProgressTask task = context.AddTask(Markup.Escape(label), maxValue: 1);
                await work((part, figures) =>
                {
                    task.Value = part;
                    task.Description = Markup.Escape($"{label}: {figures}");
                });
            });
    }
}
