// atelier runs: training in a running cluster.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;
using Atelier.Contracts;
using Atelier.Contracts.Training;
using Atelier.Model.Data.Caching;
using Atelier.Model.Training.Runs;

namespace Atelier.Cli.Commands;

internal static class RunsCommand
{
    private const string Path = "/v1/training/runs";
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);

    public static Command Create() => new("runs", "Trains models in a running cluster.")
    {
        Submit(), List(), Show(), Watch(), Pause(), Resume(), Export(), RunsPublishCommand.Create(), Cancel(),
    };

    private static Command Submit()
    {
        var cluster = new ClusterOptions();
        var config = new Argument<string>("config")
        {
            Description = "A stage's YAML file, or a folder of stages that run in the order of their names.",
        };
        var overrides = new Argument<string[]>("key=value")
        {
            Description = "Changes to the configuration.", Arity = ArgumentArity.ZeroOrMore,
        };
        var id = new Option<string>("--id")
        {
            Description = "Id of the run; by default the name of the file or folder.",
        };
        Command command = cluster.AddTo(new Command(
            "submit", "Submits a run. If the command is repeated, it changes nothing."));
        command.Add(config);
        command.Add(overrides);
        var resume = new Option<bool>("--resume")
        {
            Description = "Resumes each stage from the checkpoints that `atelier train` left in trainer.save_folder, "
                + "if there are any.",
        };
        var upload = new Option<bool>("--upload")
        {
            Description = "Uploads the data that the cluster does not have yet, so that its silos need not see the "
                + "folders.",
        };
        Option<int?> priority = Choices.NumberOrNone(
            "--priority", -RunSubmission.PriorityMax, RunSubmission.PriorityMax,
            "Priority, -100 to 100: runs of higher priority get devices first.");
        Option<double?> weight = Choices.NumberOrNone(
            "--weight", 1.0, RunSubmission.WeightMax,
            "Share of the devices relative to other runs of the same priority, 1 to 1000.");
        Option<double?> budget = Choices.NumberOrNone(
            "--budget", 1.0, 1e15, "Device-seconds after which the run pauses.");
        command.Add(id);
        command.Add(resume);
        command.Add(priority);
        command.Add(weight);
        command.Add(budget);
        command.Add(upload);
        command.SetAction(async (parsed, cancellation) =>
        {
            string path = parsed.GetRequiredValue(config);
            string[] changes = parsed.GetValue(overrides) ?? [];
            using ClusterClient client = cluster.Connect(parsed);
            DataUpload? uploads = parsed.GetValue(upload) ? new DataUpload(client) : null;
            var stages = new JsonArray();
            foreach (string file in StageFiles.Of(path))
            {
                StageConfig stage = StageConfig.Read(file, changes);
                string[] folders =
                [
                    .. changes, .. await DataAsync(stage, uploads, cancellation),
                    $"trainer.save_folder={Full(stage.Folder)}",
                    .. stage.Start.Path is { } start ? (string[])[$"trainer.load_path={Full(start)}"] : [],
                ];
                stages.Add(new JsonObject
                {
                    ["configuration"] = await File.ReadAllTextAsync(file, cancellation),
                    ["overrides"] = new JsonArray([.. folders.Select(change => (JsonNode)change)]),
                    ["resume"] = parsed.GetValue(resume),
                });
            }

            string name = parsed.GetValue(id) ?? System.IO.Path.GetFileNameWithoutExtension(
                System.IO.Path.TrimEndingDirectorySeparator(path));
            if (!Names.AreValid(name))
            {
                throw new UserErrorException($"--id is {name}; it must have {Names.Rule}.");
            }

            var body = new JsonObject
            {
                ["id"] = name, ["stages"] = stages, ["priority"] = parsed.GetValue(priority),
                ["weight"] = parsed.GetValue(weight), ["budget_seconds"] = parsed.GetValue(budget),
            };
            JsonNode? run = await client.RetryAsync(
                () => client.CallAsync(HttpMethod.Post, Path, body, cancellation), cancellation);
            Describe(run!);
            return 0;
        });
        return command;
    }

    private static Command List()
    {
        var cluster = new ClusterOptions();
        Command command = cluster.AddTo(new Command("list", "Lists open runs, then ended runs, the last one first."));
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            JsonNode? list = await client.CallAsync(HttpMethod.Get, Path, null, cancellation);
            Output.Table(
                ["run", "status", "stage", "safe step", "steps", "priority", "weight", "owner", "submitted"],
                [.. list!["data"]!.AsArray().Select(run => (IReadOnlyList<string>)
                [
                    $"{run!["id"]}", $"{run["status"]}",
                    $"{run["stage_name"]} ({run["stage"]!.GetValue<int>() + 1} of {run["stage_count"]})",
                    $"{run["safe_step"]}", $"{run["steps"]}", $"{run["priority"]}", $"{run["weight"]}",
                    $"{run["owner"]}", Time($"{run["submitted_at"]}"),
                ])]);
            return 0;
        });
        return command;
    }

    private static Command Show()
    {
        var cluster = new ClusterOptions();
        Argument<string> id = Id();
        Option<FileInfo> json = Choices.Json();
        Command command = cluster.AddTo(new Command("show", "Shows a run, its stages and its trainers."));
        command.Add(id);
        command.Add(json);
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using ClusterClient client = cluster.Connect(parsed);
            JsonNode run = await GetAsync(client, parsed.GetRequiredValue(id), cancellation);
            Describe(run);
            Output.Json(parsed.GetValue(json), (JsonObject)run);
            return 0;
        });
        return command;
    }

    private static Command Watch()
    {
        var cluster = new ClusterOptions();
        Argument<string> id = Id();
        Command command = cluster.AddTo(new Command(
            "watch", "Follows a run until it ends: its progress, and what happens to it."));
        command.Add(id);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            string last = "";
            var notes = new HashSet<string>();
            while (true)
            {
                JsonNode run = await GetAsync(client, parsed.GetRequiredValue(id), cancellation);
                JsonNode stage = run["stages"]!.AsArray()[^1]!;
                foreach (JsonNode? note in stage["notes"]!.AsArray())
                {
                    string text = $"{Time($"{note!["at"]}")} {stage["name"]} at step {note["step"]}: {note["text"]}";
                    if (notes.Add(text))
                    {
                        Output.Line(text);
                    }
                }

                string line = $"{LineOf(stage)} {stage["trouble"]}".TrimEnd();
                if (line != last)
                {
                    Output.Line(last = line);
                }

                if (run["status"]!.GetValue<string>() is not ("running" or "paused") and var status)
                {
                    Describe(run);
                    return status == "done" ? 0 : 1;
                }

                await Task.Delay(s_pause, cancellation);
            }
        });
        return command;
    }

    private static Command Pause()
    {
        var now = new Option<bool>("--now")
        {
            Description = "Stops trainers at once. The steps since the last checkpoint are computed again later.",
        };
        return Change(
            new Command("pause", "Pauses a run at its next checkpoint."), now,
            parsed => new JsonObject { ["now"] = parsed.GetValue(now) });
    }

    private static Command Resume()
    {
        Option<double?> budget = Choices.NumberOrNone(
            "--budget", 1.0, 1e15, "New budget of the run, in device-seconds.");
        return Change(
            new Command("resume", "Resumes a paused run from its last checkpoint."), budget,
            parsed => new JsonObject { ["budget_seconds"] = parsed.GetValue(budget) });
    }

    private static Command Change(Command verb, Option option, Func<ParseResult, JsonObject> body)
    {
        var cluster = new ClusterOptions();
        Argument<string> id = Id();
        Command command = cluster.AddTo(verb);
        command.Add(id);
        command.Add(option);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            string path = $"{Path}/{Uri.EscapeDataString(parsed.GetRequiredValue(id))}/{verb.Name}";
            JsonNode? run = await client.RetryAsync(
                () => client.CallAsync(HttpMethod.Post, path, body(parsed), cancellation), cancellation);
            Describe(run!);
            return 0;
        });
        return command;
    }

    private static Command Export()
    {
        var cluster = new ClusterOptions();
        Argument<string> id = Id();
        Command command = cluster.AddTo(new Command(
            "export", "Exports the current stage's last checkpoint to the stage's folder; train can resume from it."));
        command.Add(id);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            string path = $"{Path}/{Uri.EscapeDataString(parsed.GetRequiredValue(id))}/export";
            JsonNode? written = await client.CallAsync(HttpMethod.Post, path, new JsonObject(), cancellation);
            Output.Line($"{written!["path"]}: step {written["step"]}");
            return 0;
        });
        return command;
    }

    private static Command Cancel()
    {
        var cluster = new ClusterOptions();
        Argument<string> id = Id();
        Command command = cluster.AddTo(new Command("cancel", "Cancels a run; its last checkpoint is kept."));
        command.Add(id);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            await client.CallAsync(
                HttpMethod.Delete, $"{Path}/{Uri.EscapeDataString(parsed.GetRequiredValue(id))}", null, cancellation);
            return 0;
        });
        return command;
    }

    private static Argument<string> Id() => new("id") { Description = "Id of the run." };

    private static async Task<JsonNode> GetAsync(ClusterClient client, string id, CancellationToken cancellation) =>
        (await client.CallAsync(HttpMethod.Get, $"{Path}/{Uri.EscapeDataString(id)}", null, cancellation))!;

    // Where silos find the stage's data, as changes of its configuration.
    private static async Task<List<string>> DataAsync(
        StageConfig stage, DataUpload? uploads, CancellationToken cancellation)
    {
        var changes = new List<string>();
        foreach ((string key, IReadOnlyList<string> folders) in stage.DataKeys)
        {
            var places = new List<string>();
            foreach (string folder in folders)
            {
                places.Add(DataManifest.DigestIn(folder) is not null ? folder
                    : uploads is null ? Full(folder) : await uploads.RunAsync(Full(folder), cancellation));
            }

            changes.Add($"{key}={string.Join(',', places)}");
        }

        return changes;
    }

    private static string Full(string path) => System.IO.Path.GetFullPath(path);

    private static void Describe(JsonNode run)
    {
        int begun = run["stages"]!.AsArray().Count;
        Output.Line($"{run["id"]}: {run["status"]}, {begun} of {run["stage_count"]} stages begun");
        foreach (JsonNode? stage in run["stages"]!.AsArray())
        {
            Output.Line($"  {LineOf(stage!)}");
            foreach (JsonNode? trainer in stage!["trainers"]!.AsArray())
            {
                Output.Line($"    {trainer!["trainer"]}: "
                    + (trainer["shards"]!.GetValue<int>() is > 0 and var shards ? $"{shards} shards" : "no shards")
                    + (trainer["step"] is { } step ? $", step {step}" : ""));
            }

            if (stage["panels"]?.AsArray() is [.., { } panel])
            {
                Output.Line(
                    $"    panel of step {panel["step"]}"
                    + (Number(panel["score"]) is { } score ? Invariant($", CLIP score {score:f2}") : ""));
            }

            if (stage["weights"] is { } weights)
            {
                Output.Line($"    weights {weights.GetValue<string>()[..16]}");
            }

            if (stage["trouble"] is { } trouble)
            {
                Output.Line($"    {trouble}");
            }
        }
    }

    private static string LineOf(JsonNode stage)
    {
        string loss = Number(stage["loss"]) is { } value ? Invariant($"  loss {value:f4}") : "";
        string rate = Number(stage["images_per_second"]) is { } images ? Invariant($"  {images:f0} images/s") : "";
        string left = Number(stage["seconds_left"]) is { } seconds
            ? Invariant($"  {TimeSpan.FromSeconds(Math.Min(seconds, 1e9)):d\\.hh\\:mm\\:ss} left") : "";
        return $"{stage["name"]} {stage["step"]}/{stage["steps"]}{loss}{rate}{left}  safe step {stage["safe_step"]}  "
            + $"world {stage["world"]}, {stage["trainers"]!.AsArray().Count} trainers";
    }

    private static double? Number(JsonNode? node) => node?.GetValue<double>();

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static string Time(string text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, out DateTimeOffset time)
            ? time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture) : text;
}
