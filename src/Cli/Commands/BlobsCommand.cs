// atelier blobs: maintenance of the blob store.
using System.CommandLine;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;

namespace Atelier.Cli.Commands;

internal static class BlobsCommand
{
    private const int GraceHours = 24;
    private const int GraceHoursMax = 10 * 365 * 24;

    public static Command Create() => new("blobs", "Cleans up the store of pictures and other large data.") { Sweep() };

    private static Command Sweep()
    {
        var cluster = new ClusterOptions();
        var remove = new Option<bool>("--remove")
        {
            Description = "Remove the listed data; without this option nothing is removed.",
        };
        Option<int> grace = Choices.Number(
            "--grace-hours", 1, GraceHoursMax, GraceHours,
            "Keep data stored within this many hours, because its owner may not refer to it yet.");
        Option<FileInfo> json = Choices.Json();
        Command command = cluster.AddTo(new Command(
            "sweep", "Lists stored data that nothing in the cluster needs, and its size; with --remove, removes it."));
        command.Add(remove);
        command.Add(grace);
        command.Add(json);
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using ClusterClient client = cluster.Connect(parsed);
            bool removes = parsed.GetValue(remove);
            var body = new JsonObject { ["dry_run"] = !removes, ["grace_hours"] = parsed.GetValue(grace) };
            var blobs = new JsonArray();
            JsonNode? totals = null;
            await foreach (StreamEvent one in client.EventsAsync(
                HttpMethod.Post, "/v1/admin/blobs/sweep", body, cancellation))
            {
                JsonNode data = JsonNode.Parse(one.Data)!;
                if (one.Name == "blob")
                {
                    bool isRemoved = data["removed"]?.GetValue<bool>() == true;
                    Output.Line($"{(isRemoved ? "removed" : removes ? "kept" : "unneeded")}  {data["name"]}  "
                        + $"{data["bytes"]} bytes");
                    blobs.Add(data);
                }
                else if (one.Name == "done")
                {
                    totals = data;
                }
            }

            // The connection may end between two events without an error.
            JsonNode sums = totals ?? throw new UserErrorException("The sweep was interrupted; run it again.");
            Show(sums, removes);
            Output.Json(parsed.GetValue(json), new JsonObject { ["blobs"] = blobs, ["totals"] = sums });
            return 0;
        });
        return command;
    }

    private static void Show(JsonNode totals, bool removes)
    {
        foreach ((string member, string text) in ((string, string)[])
            [
                ("listed", "are stored"), ("unneeded", "are not needed by any owner"), ("removed", "were removed"),
                ("young", "are too young to be removed"),
                ("in_doubt", "were kept because an owner or the store did not answer"),
            ])
        {
            Output.Remark($"{totals[member]?["blobs"]} blobs, {totals[member]?["bytes"]} bytes, {text}.");
        }

        if (!removes)
        {
            Output.Remark("This was a dry run; with --remove, unneeded blobs are removed.");
        }
    }
}
