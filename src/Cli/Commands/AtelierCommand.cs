// The root of the command line: all verbs, and the handling of errors and signals around them.
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
    // The exit code that shells report after Ctrl-C: 128 + SIGINT.
    private const int Interrupted = 130;

    // Training needs time to finish the current step and write a checkpoint.
    private static readonly TimeSpan s_timeToStop = TimeSpan.FromMinutes(2);

    // Verbs that do not need libtorch, or load it themselves.
    private static readonly string[] s_light =
        ["up", "status", "tenants", "blobs", "runs", "generate", "test"];

    private const string NoMemory = "This machine does not have enough memory for this command.";

    // A prompt may begin with @, which would otherwise refer to a response file.
    private static readonly ParserConfiguration s_parsing = new() { ResponseFileTokenReplacer = null };

    public static Command Create()
    {
        var command = new Command(
            "atelier", "Atelier: draws pictures from text, and trains the models that draw them.")
        {
            new HelpOption("--help", "-h", "-?"),
            new VersionOption(),
            UpCommand.Create(),
            StatusCommand.Create(),
            TenantsCommand.Create(),
            BlobsCommand.Create(),
            RunsCommand.Create(),
            VerifyCommand.Create(),
            GenerateCommand.Create(),
            TrainCommand.Create(),
            DataCommand.Create(),
            ModelsCommand.Create(),
            EvalCommand.Create(),
            BenchCommand.Create(),
            DemoCommand.Create(),
            TestCommand.Create(),
        };
        command.SetAction(parsed => new HelpAction().Invoke(parsed));
        return command;
    }

    /// <summary>Parses a command line as <see cref="RunAsync"/> does.</summary>
    public static ParseResult Parse(params string[] args) => Create().Parse(args, s_parsing);

    /// <summary>Runs a command line. An error is reported in one sentence on standard error.</summary>
    /// <returns>0 on success, 1 on an error, 130 if interrupted.</returns>
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

            // Help, usage errors and cluster verbs do not need libtorch; other commands do.
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

    // The message of an error that a user can resolve; null for all others, which are bugs of this program and are
    // shown with a stack trace.
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
