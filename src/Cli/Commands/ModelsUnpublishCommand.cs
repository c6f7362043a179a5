// atelier models unpublish: the withdrawal of a model that was published from a run.
using System.CommandLine;
using Atelier.Cli.Cluster;

namespace Atelier.Cli.Commands;

internal static class ModelsUnpublishCommand
{
    public static Command Create()
    {
        var cluster = new ClusterOptions();
        var name = new Argument<string>("name") { Description = "Name of the model." };
        Command command = cluster.AddTo(new Command(
            "unpublish",
            "Withdraws a published model of a running cluster: it takes no new requests; accepted ones are drawn."));
        command.Add(name);
        command.SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            await client.CallAsync(
                HttpMethod.Delete, $"/v1/models/{Uri.EscapeDataString(parsed.GetRequiredValue(name))}", null,
                cancellation);
            return 0;
        });
        return command;
    }
}
