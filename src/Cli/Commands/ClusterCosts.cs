// What stages cost on rented devices: hours and dollars, without and with preemptions. The devices' figures are
// assumptions, which options replace.
using System.CommandLine;
using System.Globalization;
using Atelier.Cli.Bench.Goodput;
using Atelier.Model.Training.Runs;

namespace Atelier.Cli.Commands;

/// <summary>A kind of rented device, as assumed.</summary>
/// <param name="Name">Name for the table.</param>
/// <param name="Tflops">Sustained rate in training, 1e12 floating-point operations per second.</param>
/// <param name="Price">Dollars per hour.</param>
/// <param name="Gigabits">Network of a device in Gbit/s, in each direction.</param>
internal sealed record RentedDevice(string Name, double Tflops, double Price, double Gigabits);

/// <summary>Options and table of what stages cost on a number of devices.</summary>
internal sealed class ClusterCosts
{
    // Sustained rates are about a third of what the vendors state for dense bfloat16; prices are round figures for
    // preemptible devices. None of them was measured.
    private static readonly RentedDevice[] s_kinds =
    [
        new("H200", 330, 3, 400), new("H100", 300, 2.5, 400), new("A100 80 GB", 110, 1.3, 200),
        new("L40S", 100, 0.8, 25),
    ];

    private readonly Option<int?> _devices = Choices.NumberOrNone(
        "--devices", 1, 4096, "With --dry-run: hours and dollars in a cluster of so many devices.");

    private readonly Option<double?> _tflops = Choices.NumberOrNone(
        "--tflops", 0.001, 100_000, "With --devices: a device's sustained TFLOP/s, instead of the assumed kinds.");

    private readonly Option<double?> _price = Choices.NumberOrNone(
        "--price", 0, 10_000.0, "With --devices: dollars per device and hour, instead of the assumed prices.");

    private readonly Option<double?> _network = Choices.NumberOrNone(
        "--network", 0.1, 100_000, "With --devices: Gbit/s of a device's network, instead of the assumed ones.");

    private readonly Option<double> _rate = Choices.Number(
        "--preemptions", 0, 100, 1.0 / 24, "With --devices: preemptions per device and hour; once a day by default.");

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { _devices, _tflops, _price, _network, _rate })
        {
            command.Add(option);
        }
    }

    /// <summary>Prints the table if it is asked for.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="stages">The stages, with their numbers of parameters.</param>
    public void Print(ParseResult parsed, IReadOnlyList<(StageConfig Stage, double Parameters)> stages)
    {
        if (parsed.GetValue(_devices) is not { } devices)
        {
            return;
        }

        double rate = parsed.GetValue(_rate);
        RentedDevice[] kinds =
        [
            .. (parsed.GetValue(_tflops) is { } own ? [s_kinds[0] with { Name = "as given", Tflops = own }] : s_kinds)
                .Select(kind => kind with
                {
                    Price = parsed.GetValue(_price) ?? kind.Price,
                    Gigabits = parsed.GetValue(_network) ?? kind.Gigabits,
                }),
        ];
        Output.Line();
        Output.Line($"{devices} devices; rates, networks and prices are assumptions (--tflops, --network, --price):");
        Output.Table(
            ["device", "TFLOP/s", "Gbit/s", "$ per hour"],
            [.. kinds.Select(kind => (IReadOnlyList<string>)
                [kind.Name, Text(kind.Tflops), Text(kind.Gigabits), Text(kind.Price)])]);
        Output.Line();
        Output.Line($"With {Text(rate)} preemptions per device and hour, by the bound that bench goodput keeps:");
        Output.Table(
            [
                "device", "stage", "s per step", "exchange, s", "hours", "$", "hours, preempted", "$, preempted",
            ],
            [.. kinds.SelectMany(kind => Rows(kind, devices, rate, stages))]);
        foreach ((StageConfig stage, _) in stages.Where(one => one.Stage.StepSettings.Shards < devices))
        {
            Output.Line(
                $"{stage.Name}: trainer.shards is {stage.StepSettings.Shards}, so only that many devices compute; the "
                + "others are spare.");
        }
    }

    private static IEnumerable<IReadOnlyList<string>> Rows(
        RentedDevice kind, int devices, double rate, IReadOnlyList<(StageConfig Stage, double Parameters)> stages)
    {
        (double hours, double preempted) sum = (0, 0);
        foreach ((StageConfig stage, double parameters) in stages)
        {
            var step = ClusterStep.Of(stage, parameters, devices, kind.Tflops * 1e12, kind.Gigabits * 1e9);
            double hours = stage.Steps * step.Seconds / 3600;
            double preempted = hours * LossModel.Slowdown(devices, rate, step.Seconds);
            sum = (sum.hours + hours, sum.preempted + preempted);
            yield return Row(stage.Name, step.Seconds, step.ExchangeSeconds, hours, preempted);
        }

        if (stages.Count > 1)
        {
            yield return Row("all", null, null, sum.hours, sum.preempted);
        }

        IReadOnlyList<string> Row(string name, double? seconds, double? exchange, double hours, double preempted) =>
        [
            kind.Name, name, seconds is { } all ? Text(all) : "", exchange is { } part ? Text(part) : "", Text(hours),
            Dollars(hours), double.IsFinite(preempted) ? Text(preempted) : "never",
            double.IsFinite(preempted) ? Dollars(preempted) : "never",
        ];

        string Dollars(double hours) =>
            (hours * devices * kind.Price).ToString("n0", CultureInfo.InvariantCulture);
    }

    private static string Text(double value) => value.ToString(
        value >= 100 ? "n0" : value >= 10 ? "0.#" : "0.###", CultureInfo.InvariantCulture);
}
