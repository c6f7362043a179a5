// atelier up: a whole cluster in one process tree on this machine.
using System.CommandLine;
using System.Runtime.InteropServices;
using Atelier.Cli.Cluster;
using Atelier.Contracts.Queueing;
using Atelier.Model;
using Atelier.Model.Pipeline;
using Atelier.ServiceDefaults;

namespace Atelier.Cli.Commands;

internal static class UpCommand
{
    /// <summary>The prompt of the suggested first picture, which the default model draws well.</summary>
    internal const string Prompt = "a yellow star and a red heart";

    private static readonly TimeSpan s_patienceForStore = TimeSpan.FromMinutes(1);

    public static Command Create()
    {
        Option<DirectoryInfo> data = ClusterOptions.Data();
        Option<int?> port = Choices.NumberOrNone(
            "--port", 1, ushort.MaxValue,
            $"Port of the page and the API; by default that of the last run, or {ClusterPlan.StandardPort}, or the "
            + "next free one.");
        var models = new Option<DirectoryInfo[]>("--model")
        {
            HelpName = "DIR",
            Description = "Model folder; several may be given, and the first one is the default.",
            DefaultValueFactory = _ => [new DirectoryInfo(Home.At("models/shapes"))],
            Arity = ArgumentArity.OneOrMore,
        };
        Option<int?> threads = Choices.NumberOrNone(
            "--threads", 1, 1024,
            "Threads of each silo's device; by default all processors but one are divided among the silos.");
        Option<int?> slots = Choices.NumberOrNone(
            "--slots", 1, WorkerTurn.SlotsMax,
            "Maximum number of pictures that each silo denoises in a batch; by default the silo's own setting.");
        Option<int> silos = Choices.Number("--silos", 1, ClusterPlan.SilosMax, 1, "Number of silos.");
        var verbose = new Option<bool>("--verbose") { Description = "Also show all log output of the processes." };
        var command = new Command("up", "Runs a whole cluster on this machine, until Ctrl-C.")
        {
            data, port, models, threads, slots, silos, verbose,
        };
        command.SetAction(async (parsed, cancellation) =>
        {
            PrivateFiles.CloseNew();
            string[] folders = [.. parsed.GetRequiredValue(models).Select(folder => folder.ToString())];
            foreach (string model in folders)
            {
                CheckModel(model);
            }

            using ClusterFolder folder = ClusterFolder.Open(ClusterOptions.FolderOf(parsed, data), Say);
            await folder.WaitForStoreAsync(s_patienceForStore, Say, TimeProvider.System, cancellation);
            int count = parsed.GetValue(silos);
            ClusterFile file = ClusterPlan.WithPorts(
                ClusterFile.Read(folder.Path) ?? ClusterFile.New(), parsed.GetValue(port), count);
            file.Write(folder.Path);
            var plan = new ClusterPlan
            {
                Folder = folder,
                File = file,
                Models = folders,
                Threads = parsed.GetValue(threads) ?? Math.Max(1, (Environment.ProcessorCount - 1) / count),
                Slots = parsed.GetValue(slots),
            };
            var cluster = new ClusterUp(
                plan, new SupervisionSettings { IsVerbose = parsed.GetValue(verbose) }, TimeProvider.System, Say);
            using PosixSignalRegistration impatience = KillAtSecondCtrlC(cluster);
            await cluster.RunAsync(ready => Output.Line(Welcome(ready, folder)), cancellation);
            Say("stopped");
            return 0;
        });
        return command;
    }

    /// <summary>The text shown once the cluster is ready.</summary>
    internal static string Welcome(ClusterFile file, ClusterFolder folder) =>
        $$"""

        Atelier is up.

          page  {{file.Url}}/#key={{file.Key}}
          key   {{file.Key}}
          data  {{folder.Path}}
          logs  {{folder.Logs}}

        To draw a picture from another terminal:

          curl -sS {{file.Url}}/v1/images/generations -H 'content-type: application/json' \
            -H 'authorization: Bearer {{file.Key}}' \
            -d '{"prompt": "{{Prompt}}", "response_format": "b64_json"}' \
            | grep -o '"b64_json":"[^"]*' | cut -d '"' -f 4 | base64 -d > star.png

        Ctrl-C stops the cluster; accepted requests resume with the next atelier up.
        """;

    private static void CheckModel(string path)
    {
        try
        {
            ModelFolder.Open(path);
        }
        catch (RefusedFileException error)
        {
            throw new UserErrorException(
                $"There is no model to draw with: {error.Message} Give a model folder with --model. atelier models "
                + "import creates one from published weights; atelier demo make makes models/shapes from scratch.");
        }
    }

    private static PosixSignalRegistration KillAtSecondCtrlC(ClusterUp cluster)
    {
        int signals = 0;
        return PosixSignalRegistration.Create(PosixSignal.SIGINT, context =>
        {
            context.Cancel = true;
            if (Interlocked.Increment(ref signals) == 2)
            {
                Say("killing all processes; their work resumes with the next atelier up");
                cluster.Kill();
            }
        });
    }

    private static void Say(string text) => Output.Remark($"atelier: {text}");
}
