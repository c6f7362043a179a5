// The report of a stage in Markdown, with its curves as SVG and its panels.
using System.Globalization;
using System.Text;
using Atelier.Training;

namespace Atelier.Model.Training.Runs;

/// <summary>Writes report.md into a run's folder, from the metrics and panels in that folder.</summary>
public static class TrainingReport
{
    /// <summary>Name of the report.</summary>
    public const string FileName = StageRules.ReportFile;

    private const int Width = 800, Height = 280, Margin = 48, PointsMax = 400, PanelsMax = 12;

    /// <summary>Writes the report of a stage, which need not be complete.</summary>
    public static void Write(StageState state)
    {
        (StageConfig config, RunPosition run, LeftOutSamples leftOut) = (state.Config, state.Position, state.LeftOut);
        StepResult[] steps = StepMetrics.Read(config.Folder);
        if (steps.Length == 0)
        {
            return;
        }

        // Batches with values that are not finite are left out of the curves; if no other batches exist, there are no
        // curves.
        StepResult[] finite =
            [.. steps.Where(step => double.IsFinite(step.Loss) && double.IsFinite(step.GradientNorm))];
        (string Name, Func<StepResult, double> Value, bool IsLogarithmic)[] curves = finite.Length == 0 ? [] :
        [
            ("loss", step => step.Loss, true), ("learning rate", step => step.LearningRate, false),
            ("gradient norm", step => step.GradientNorm, true),
        ];
        foreach ((string name, Func<StepResult, double> value, bool isLogarithmic) in curves)
        {
            WholeFile.WriteText(Path.Combine(config.Folder, FileOf(name)), Curve(name, finite, value, isLogarithmic));
        }

        double seconds = steps.Sum(step => step.Seconds);
        int batch = config.StepSettings.GlobalBatch;
        double images = ((double)steps.Length * batch) - steps.Sum(step => (double)step.LeftOut);
        HashSet<long> missing = [.. run.Ledger.Select(slice => slice.Step)];
        double[] last = [.. finite.Where(step => !missing.Contains(step.Step)).TakeLast(100).Select(step => step.Loss)];
        string mean = last.Length == 0 ? "none" : Invariant($"{last.Average():f4}");
        var text = new StringBuilder();
        Add($"# {config.Name}");
        Add($"");
        Add($"| what | value |");
        Add($"|---|---|");
        Add($"| batches applied | {run.Applied:n0} of {config.Steps:n0}, {batch} pictures each |");
        Add($"| batches skipped | {run.Skipped:n0} |");
        Add($"| batches undone by rollbacks | {run.Undone:n0} |");
        Add($"| samples left out of batches | {leftOut.Times:n0} |");
        RunIdentity identity = state.Identity;
        string mixed = identity.IsMixed ? "; results may differ in bits (trainer.mixed)" : "";
        Add($"| precision | {identity.Precision} |");
        Add($"| shards of a batch | {identity.Shards}, threads per shard: {identity.ThreadsPerShard} |");
        Add($"| kind of device | {identity.Device}{mixed} |");
        Add($"| time in steps | {TimeSpan.FromSeconds(seconds):d\\.hh\\:mm\\:ss}, {images / seconds:f0} images/s |");
        Add($"| loss, mean of the last 100 batches applied | {mean} |");
        Add($"| weights | {state.WeightsDigest()} |");
        foreach ((string name, _, _) in curves)
        {
            Add($"");
            Add($"![{Path.GetFileNameWithoutExtension(FileOf(name))}]({FileOf(name)})");
        }

        AddPanels();
        Add($"");
        Add($"## Skipped");
        Add($"");
        Add($"{(run.Ledger.Count == 0 ? "Nothing was skipped." : "| batch | why |\n|---|---|")}");
        foreach (SkippedSlice slice in run.Ledger)
        {
            Add($"| {slice.Step} | {slice.Reason} |");
        }

        AddLeftOut();
        Add($"## Configuration");
        Add($"");
        Add($"```");
        foreach (string line in config.Lines)
        {
            Add($"{line}");
        }

        Add($"```");
        WholeFile.WriteText(Path.Combine(config.Folder, FileName), text.ToString());

        void Add(FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

        void AddLeftOut()
        {
            long listed = leftOut.Samples.Sum(sample => sample.Times);
            if (listed > 0)
            {
                Add($"");
                Add($"## Left out");
                Add($"");
                Add($"Samples that cannot be trained on; the other samples of their batches were used.");
                Add($"");
                Add($"| sample | column | value | batches without it | first |");
                Add($"|---|---|---|---|---|");
            }

            foreach (LeftOutSample sample in leftOut.Samples)
            {
                Add($"| {sample.Place} | {sample.Column} | {sample.Value} | {sample.Times} | {sample.Step} |");
            }

            if (leftOut.Times > listed)
            {
                Add($"");
                Add($"Further samples, which are not listed, were left out {leftOut.Times - listed:n0} times.");
            }

            Add($"");
        }

        void AddPanels()
        {
            string folder = Path.Combine(config.Folder, TrainingPanel.FolderName);
            string[] panels = Directory.Exists(folder)
                ? [.. Directory.GetFiles(folder, "*.png").Order(StringComparer.Ordinal)] : [];
            if (panels.Length == 0 || config.Panel is null)
            {
                return;
            }

            Add($"");
            Add($"## Panel");
            Add($"");
            Add($"The same prompts and seeds, by batch:");
            Add($"");
            foreach (string prompt in config.Panel.Prompts)
            {
                Add($"- {prompt}");
            }

            // The shown panels are spread evenly over the run and include the last one.
            int shown = Math.Min(panels.Length, PanelsMax);
            for (int i = 1; i <= shown; i++)
            {
                string name = Path.GetFileName(panels[(i * panels.Length / shown) - 1]);
                Add($"");
                Add($"Batch {long.Parse(Path.GetFileNameWithoutExtension(name), CultureInfo.InvariantCulture):n0}:");
                Add($"");
                Add($"![{name}]({TrainingPanel.FolderName}/{name})");
            }
        }
    }

    /// <summary>Total time of a stage's steps, in seconds.</summary>
    public static double Seconds(StageConfig config) =>
        StepMetrics.Read(config.Folder).Sum(step => step.Seconds);

    private static string FileOf(string curve) => curve.Replace(' ', '_') + ".svg";

    /// <summary>Draws a curve as SVG: a line through the means over equal parts of the steps.</summary>
    /// <param name="name">Title of the curve.</param>
    /// <param name="steps">Steps with finite values; at least one.</param>
    /// <param name="value">The value of a step.</param>
    /// <param name="isLogarithmic">Whether the axis of the values is logarithmic.</param>
    public static string Curve(
        string name, StepResult[] steps, Func<StepResult, double> value, bool isLogarithmic = false)
    {
        int points = Math.Min(PointsMax, steps.Length);
        var curve = new (double X, double Y)[points];
        for (int i = 0; i < points; i++)
        {
            int from = (int)((long)i * steps.Length / points), to = (int)((i + 1L) * steps.Length / points);
            double mean = steps[from..to].Average(value);
            curve[i] = (steps[to - 1].Step, isLogarithmic ? Math.Log10(Math.Max(mean, 1e-12)) : mean);
        }

        (double low, double high) = (curve.Min(p => p.Y), curve.Max(p => p.Y));
        double range = Math.Max(high - low, 1e-12), end = Math.Max(curve[^1].X, 1);
        const int inside = Width - (2 * Margin), tall = Height - (2 * Margin);
        IEnumerable<string> places = curve.Select(p => Invariant(
            $"{Margin + (p.X / end * inside):f1},{Height - Margin - ((p.Y - low) / range * tall):f1}"));
        var svg = new StringBuilder();
        svg.Append(Invariant($"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\""));
        svg.Append(" font-family=\"sans-serif\" font-size=\"12\">\n");
        svg.Append(Invariant($"<rect width=\"{Width}\" height=\"{Height}\" fill=\"white\"/>\n"));
        svg.Append(Invariant($"<text x=\"{Margin}\" y=\"24\" font-weight=\"bold\">{name}</text>\n"));
        for (int tick = 0; tick <= 4; tick++)
        {
            double part = tick / 4.0, level = low + (part * range), y = Height - Margin - (part * tall);
            double shown = isLogarithmic ? Math.Pow(10, level) : level;
            svg.Append(Invariant($"<line x1=\"{Margin}\" x2=\"{Width - Margin}\" y1=\"{y:f1}\" y2=\"{y:f1}\""));
            svg.Append(" stroke=\"#ddd\"/>\n");
            svg.Append(Invariant($"<text x=\"{Margin - 6}\" y=\"{y + 4:f1}\" text-anchor=\"end\">{shown:g3}</text>\n"));
            svg.Append(Invariant($"<text x=\"{Margin + (part * inside):f1}\" y=\"{Height - Margin + 18}\""));
            svg.Append(Invariant($" text-anchor=\"middle\">{part * end:f0}</text>\n"));
        }

        svg.Append("<polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\" points=\"");
        svg.AppendJoin(' ', places).Append("\"/>\n</svg>\n");
        return svg.ToString();
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
