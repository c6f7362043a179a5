// The root of the command line: all verbs, and what happens around each of them.
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Atelier.Cli.Cluster;
using Atelier.Model;
using Atelier.Model.Data;
using Atelier.Model.Runtime;
using Atelier.Training;

namespace Atelier.Cli.Commands;

internal static class AtelierCommand
{
    // As a shell reports a command that Ctrl-C ended: 128 + SIGINT.
    private const int Interrupted = 130;

    // A training ends with the step in flight and a checkpoint.
    private static readonly TimeSpan s_timeToStop = TimeSpan.FromMinutes(2);

    // Verbs that need no libtorch, or load it themselves if they do.
    private static readonly string[] s_light = ["up", "status", "tenants", "blobs", "generate"];

    private const string NoMemory = "This machine has not enough memory for that.";

    // A prompt may begin with @, which would otherwise name a file of further arguments.
    private static readonly ParserConfiguration s_parsing = new() { ResponseFileTokenReplacer = null };

    public static Command Create()
    {
        var command = new Command(
            "atelier", "Atelier: pictures from text, and the training of the model that makes them.")
        {
            new HelpOption("--help", "-h", "-?"),
            new VersionOption(),
            UpCommand.Create(),
            StatusCommand.Create(),
            TenantsCommand.Create(),
            BlobsCommand.Create(),
            VerifyCommand.Create(),
            GenerateCommand.Create(),
            TrainCommand.Create(),
            DataCommand.Create(),
            ModelsCommand.Create(),
            EvalCommand.Create(),
            BenchCommand.Create(),
            DemoCommand.Create(),
        };
        command.SetAction(parsed => new HelpAction().Invoke(parsed));
        return command;
    }

    /// <summary>Parses a command line as <see cref="RunAsync"/> does.</summary>
    public static ParseResult Parse(params string[] args) => Create().Parse(args, s_parsing);

    /// <summary>Runs a command line. Whatever goes wrong is one sentence on standard error.</summary>
    /// <returns>0, 1 if something is wrong, 130 if interrupted.</returns>
    public static async Task<int> RunAsync(string[] args)
    {
        try
        {
            if (CommandLineText.Fault(args) is { } fault)
            {
                return await FailAsync(fault);
            }

            ParseResult parsed = Parse(args);
            if (Usage.Problems(parsed) is { Count: > 0 } problems)
            {
                return await FailAsync([.. problems]);
            }

            // Help and errors of usage need no libtorch, and neither do verbs of the cluster; a command that runs does.
            if (parsed.CommandResult.Command.Subcommands.Count == 0 && parsed.Action is not HelpAction
                && !s_light.Contains(VerbOf(parsed.CommandResult)))
            {
                Libtorch.Load();
            }

            return await parsed.InvokeAsync(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = s_timeToStop,
            });
        }
        catch (OperationCanceledException)
        {
            return Interrupted;
        }
        catch (Exception error) when (Sentence(error) is { } sentence)
        {
            return await FailAsync(sentence);
        }
    }

    private static string VerbOf(CommandResult result) =>
        result.Parent is CommandResult { Parent: not null } parent ? VerbOf(parent) : result.Command.Name;

    private static async Task<int> FailAsync(params string[] sentences)
    {
        foreach (string sentence in sentences)
        {
            await Console.Error.WriteLineAsync($"atelier: {sentence}");
        }

        return 1;
    }

    // Errors that a user can do something about. All others are faults of this program, and show where they arose.
    private static string? Sentence(Exception error) => error switch
    {
        UserErrorException or LibtorchException or TrainingFailedException or PrecomputeFailedException
            or NonFiniteException or ArgumentException or IOException or UnauthorizedAccessException
            or ApiRefusalException or TimeoutException =>
            error.Message,
        HttpRequestException => $"The cluster cannot be reached: {error.Message}",
        TypeInitializationException { InnerException: LibtorchException inner } => inner.Message,
        OutOfMemoryException => NoMemory,
        System.Runtime.InteropServices.ExternalException when error.Message.Contains("DefaultCPUAllocator") => NoMemory,
        _ => null,
    };
}
