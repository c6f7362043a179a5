// The atelier command.
using System.CommandLine;
using Atelier.Cli;
using Atelier.Cli.Commands;
using Atelier.Model;
using Atelier.Model.Runtime;

var root = new RootCommand("Atelier: pictures from text, and the training of the model that makes them.")
{
    VerifyCommand.Create(),
    GenerateCommand.Create(),
    ModelsCommand.Create(),
    BenchCommand.Create(),
    DemoCommand.Create(),
};
try
{
    // Parsing, help and errors of usage need no libtorch; a command that runs does.
    ParseResult parsed = root.Parse(args);
    if (parsed.Errors.Count == 0 && parsed.Action is not System.CommandLine.Help.HelpAction)
    {
        Libtorch.Load();
    }

    return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (Exception error) when (error is UserErrorException or RefusedFileException or LibtorchException or ArgumentException or IOException or UnauthorizedAccessException)
{
    await Console.Error.WriteLineAsync($"atelier: {error.Message}");
    return 1;
}
catch (TypeInitializationException error) when (error.InnerException is LibtorchException inner)
{
    await Console.Error.WriteLineAsync($"atelier: {inner.Message}");
    return 1;
}
catch (OperationCanceledException)
{
    return 130;
}
