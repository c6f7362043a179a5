// atelier runs publish: a checkpoint of a run as a model of the cluster.
using System.CommandLine;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;

namespace Atelier.Cli.Commands;

internal static class RunsPublishCommand
{
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);

    public static Command Create()
    {
        var cluster = new ClusterOptions();
        var id = new Argument<string>("id") { Description = "Id of the run." };
        var name = new Option<string>("--name") { Description = "Name of the model.", Required = true };
        Option<int?> stage = Choices.NumberOrNone(
            "--stage", 0, 1000, "Index of the stage, from 0; by default the current stage.");
        Option<long?> step = Choices.NumberOrNone(
            "--step", 1, long.MaxValue, "Steps of the checkpoint, which must be kept; by default the last checkpoint.");
        var model = new Option<string>("--model")
        {
            Description = "Model with the autoencoder and the text encoder; by default the one whose networks made the "
                + "stage's latents.",
        };
        Option<FileInfo> json = Choices.Json();
        Command command = cluster.AddTo(new Command(
            "publish",
            "Publishes a checkpoint as a model of the cluster. If the command is repeated, it changes nothing."));
        command.Add(id);
        command.Add(name);
        command.Add(stage);
        command.Add(step);
        command.Add(model);
        command.Add(json);
        command.SetAction(async (parsed, cancellation) =>
        {
            OutputFile.CheckJson(parsed.GetValue(json));
            using ClusterClient client = cluster.Connect(parsed);
            string run = parsed.GetRequiredValue(id);
            var body = new JsonObject { ["name"] = parsed.GetRequiredValue(name), ["model"] = parsed.GetValue(model) };
            body["stage"] = parsed.GetValue(stage);
            body["step"] = parsed.GetValue(step);
            while (true)
            {
                JsonNode answer = (await client.CallAsync(
                    HttpMethod.Post, $"/v1/training/runs/{Uri.EscapeDataString(run)}/publish", body, cancellation))!;
                if (answer["status"]!.GetValue<string>() == "published")
                {
                    Output.Line($"{answer["name"]}: run {run}, stage {answer["stage"]}, step {answer["step"]}, digest "
                        + answer["digest"]!.GetValue<string>()[..16]);
                    Output.Json(parsed.GetValue(json), (JsonObject)answer);
                    return 0;
                }

                // Training may continue meanwhile, so the checkpoint is named from now on.
                (body["stage"], body["step"]) = (answer["stage"]!.DeepClone(), answer["step"]!.DeepClone());
                await Task.Delay(s_pause, cancellation);
            }
        });
        return command;
    }
}
