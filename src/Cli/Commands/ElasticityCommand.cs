// atelier bench elasticity: ways to scale a pool of devices, simulated.
using System.CommandLine;
using System.Globalization;
using Atelier.Cli.Bench.Elasticity;

namespace Atelier.Cli.Commands;

internal static class ElasticityCommand
{
    public static Command Create()
    {
        Option<int> seed = Choices.Number("--seed", 0, int.MaxValue, 1, "Seed of the first day.");
        Option<int> days = Choices.Number("--days", 1, 1000, 20, "Number of days, one row of the table each.");
        Option<FileInfo> json = Choices.Json();
        var command = new Command(
            "elasticity",
            "Simulates days of requests to a pool that is scaled: 95 of 100 requests of a minute must begin within the "
            + "day's target, in 99 of 100 minutes.")
        {
            seed, days, json,
        };
        command.SetAction(parsed =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            int first = parsed.GetValue(seed);
            ElasticityFigures[] figures =
            [
                .. Enumerable.Range(first, parsed.GetValue(days)).AsParallel().AsOrdered()
                    .Select(ElasticityBench.Measure),
            ];
            Print(figures);
            Output.Json(parsed.GetValue(json), figures);
            return 0;
        });
        return command;
    }

    private static void Print(ElasticityFigures[] figures) => Output.Table(
        [
            "day", "fixed", "device-hours", "in flight", "device-hours", "predicted: device-hours", "minutes within",
        ],
        [
            .. figures.Select(one => (IReadOnlyList<string>)
            [
                Number(one.Seed, "0"), Number(one.Devices, "0"), Number(one.Fixed.DeviceHours, "0"),
                one.PerDevice is { } constant ? Number(constant, "0.##") : "missed",
                one.InFlightHours is { } hours ? Number(hours, "0") : "", Number(one.Predicted.DeviceHours, "0"),
                Number(one.Predicted.MinutesWithin, "p1"),
            ]),
        ]);

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
