// atelier runs: training in a running cluster.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;
using Atelier.Contracts;
using Atelier.Model.Training.Runs;

namespace Atelier.Cli.Commands;

internal static class RunsCommand
{
    private const string Path = "/v1/training/runs";
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);

    public static Command Create() => new("runs", "Trains models in a running cluster.")
    {
        Submit(), List(), Show(), Watch(), Resume(), Export(), Cancel(),
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
        command.Add(id);
        command.Add(resume);
        command.SetAction(async (parsed, cancellation) =>
        {
            string path = parsed.GetRequiredValue(config);
            string[] changes = parsed.GetValue(overrides) ?? [];
            var stages = new JsonArray();
            foreach (string file in StageFiles.Of(path))
            {
                StageConfig stage = StageConfig.Read(file, changes);
                string[] folders =
                [
                    .. changes, $"dataset.train.datadir={string.Join(',', stage.DataFolders.Select(Full))}",
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

            using ClusterClient client = cluster.Connect(parsed);
            JsonNode? run = await client.CallAsync(
                HttpMethod.Post, Path, new JsonObject { ["id"] = name, ["stages"] = stages }, cancellation);
            Describe(run!);
            return 0;
        });
        return command;
    }

    private static Command List()
    {
        var cluster = new ClusterOptions();
        Command command = cluster.AddTo(new Command("list", "Lists open runs."));
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            JsonNode? list = await client.CallAsync(HttpMethod.Get, Path, null, cancellation);
            foreach (JsonNode? run in list!["data"]!.AsArray())
            {
                Describe(run!);
            }

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
        Command command = cluster.AddTo(new Command("watch", "Follows a run until it ends."));
        command.Add(id);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            string last = "";
            while (true)
            {
                JsonNode run = await GetAsync(client, parsed.GetRequiredValue(id), cancellation);
                JsonNode stage = run["stages"]!.AsArray()[^1]!;
                string line = $"{LineOf(stage)} {stage["trouble"]}".TrimEnd();
                if (line != last)
                {
                    Output.Line(last = line);
                }

                if (run["status"]!.GetValue<string>() is not "running" and var status)
                {
                    Describe(run);
                    return status == "done" ? 0 : 1;
                }

                await Task.Delay(s_pause, cancellation);
            }
        });
        return command;
    }

    private static Command Resume()
    {
        var cluster = new ClusterOptions();
        Argument<string> id = Id();
        Command command = cluster.AddTo(new Command(
            "resume", "Resumes a paused run from its last checkpoint."));
        command.Add(id);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            string path = $"{Path}/{Uri.EscapeDataString(parsed.GetRequiredValue(id))}/resume";
            await client.CallAsync(HttpMethod.Post, path, new JsonObject(), cancellation);
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
        string loss = stage["loss"] is { } value
            ? $"  loss {value.GetValue<double>().ToString("f4", CultureInfo.InvariantCulture)}" : "";
        return $"{stage["name"]} {stage["step"]}/{stage["steps"]}{loss}  safe step {stage["safe_step"]}  world "
            + $"{stage["world"]}, {stage["trainers"]!.AsArray().Count} trainers";
    }
}
