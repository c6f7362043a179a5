// atelier status: a cluster's silos, workers and queues.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;
using Atelier.Contracts;

namespace Atelier.Cli.Commands;

internal static class StatusCommand
{
    private const int DigestLength = 12;

    public static Command Create()
    {
        var cluster = new ClusterOptions();
        Option<FileInfo> json = Choices.Json();
        Command command = cluster.AddTo(new Command("status", "Shows a cluster's silos, workers and queues."));
        command.Add(json);
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using ClusterClient client = cluster.Connect(parsed);
            JsonNode status = (await client.RetryAsync(
                () => client.CallAsync(HttpMethod.Get, "/v1/admin/status", null, cancellation), cancellation))!;
            Output.Line($"The cluster at {client.Url.GetLeftPart(UriPartial.Authority)}");
            foreach (string what in (string[])["silos", "workers", "queues"])
            {
                Output.Line();
                Show(what, [.. (status[what] as JsonArray ?? []).OfType<JsonObject>()]);
            }

            Output.Json(parsed.GetValue(json), status);
            return 0;
        });
        return command;
    }

    // The columns are the members of the response, so that responses of other versions are shown too.
    private static void Show(string what, JsonObject[] items)
    {
        if (items.Length == 0)
        {
            Output.Line($"No {what}.");
            return;
        }

        string[] members = [.. items.SelectMany(item => item.Select(member => member.Key)).Distinct()];
        Output.Table(
            [.. members.Select((member, i) => i == 0 ? $"{what}: {Heading(member)}" : Heading(member))],
            [.. items.Select(item => (IReadOnlyList<string>)[.. members.Select(member => Cell(item[member]))])]);
    }

    private static string Heading(string member) => member.Replace('_', ' ');

    private static string Cell(JsonNode? value) => value switch
    {
        null => "",
        JsonArray list => string.Join(", ", list.Select(Cell)),
        JsonValue one when one.TryGetValue(out string? text) => Digests.AreValid(text) ? text[..DigestLength] : text,
        JsonValue one when one.TryGetValue(out bool yes) => yes ? "yes" : "no",
        JsonValue one when one.TryGetValue(out double number) && Math.Abs(number) >= 1e6 =>
            number.ToString("0.###e+0", CultureInfo.InvariantCulture),
        _ => value.ToJsonString(),
    };
}
