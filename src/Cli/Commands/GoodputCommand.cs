// atelier bench goodput: what preemptions cost a stage, simulated.
using System.CommandLine;
using System.Globalization;
using Atelier.Cli.Bench.Goodput;

namespace Atelier.Cli.Commands;

internal static class GoodputCommand
{
    public static Command Create()
    {
        Option<int> devices = Choices.Number("--devices", 1, 1024, 8, "Number of devices; those beyond V are spare.");
        Option<int> shards = Choices.Number("--shards", 1, 4096, 64, "Number of shards of a batch, V.");
        var rates = new Option<double[]>("--rates")
        {
            HelpName = "R ...",
            Description = "Preemptions per device and hour, one row of the table each.",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [1.0 / 24, 0.25, 1, 4],
        };
        Option<double> hours = Choices.Number("--hours", 0.1, 1000, 24, "Simulated hours per row.");
        Option<double> step = Choices.Number("--step", 0.1, 1000, 10, "Seconds of an undisturbed step.");
        Option<double> replaced = Choices.Number(
            "--replaced-after", 1.0, 36000, 90, "Seconds until a lost device is replaced.");
        var vanish = new Option<bool>("--vanish") { Description = "Devices are taken without notice." };
        Option<int> seed = Choices.Number("--seed", 0, int.MaxValue, 1, "Seed of the preemptions.");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "goodput",
            "Simulates training on preemptible devices: 1.16 B parameters, 14 GB of state, 25 Gbit/s a device.")
        {
            devices, shards, rates, hours, step, replaced, vanish, seed, json,
        };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            var settings = new GoodputSettings
            {
                Devices = parsed.GetValue(devices), Shards = parsed.GetValue(shards),
                StepSeconds = parsed.GetValue(step), ReplacedAfter = parsed.GetValue(replaced),
                IsNoticed = !parsed.GetValue(vanish),
            };
            GoodputFigures[] figures =
            [
                .. (parsed.GetValue(rates) ?? []).Select(rate => GoodputBench.Measure(
                    settings with { Rate = rate }, parsed.GetValue(hours), parsed.GetValue(seed))),
            ];
            Print(figures);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static void Print(GoodputFigures[] figures) => Output.Table(
        [
            "lost per device and hour", "lost", "goodput", "of the devices present", "a loss costs, s",
            "checkpoint and restart",
        ],
        [
            .. figures.Select(one => (IReadOnlyList<string>)
            [
                Number(one.Rate, "0.###"), Number(one.Lost, "0"), Number(one.Goodput, "p1"),
                Number(one.OfPresent, "p1"), Number(one.LossSeconds, "0.0"), Number(one.Restart, "p1"),
            ]),
        ]);

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
