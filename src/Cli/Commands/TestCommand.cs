// atelier test: the script runs it, before there is a program; this is its help.
using System.CommandLine;

namespace Atelier.Cli.Commands;

internal static class TestCommand
{
    public static Command Create()
    {
        var command = new Command(
            "test", "Builds everything and runs the tests. Only the script ./atelier of a checkout can.")
        {
            new Option<bool>("--install")
            {
                Description = "Install the Debian packages that the tests need; always so as root.",
            },
            new Option<bool>("--long")
            {
                Description = "Run what the tests leave out for time, at full size; takes an hour or more.",
            },
            new Argument<string[]>("PART")
            {
                Description =
                    "With --long: scale (queue and store), seeds (simulations), attacks (processes); by default all. "
                    + "Otherwise options of dotnet test.",
                Arity = ArgumentArity.ZeroOrMore,
            },
        };
        command.SetAction(Refuse);
        return command;
    }

    private static int Refuse(ParseResult parsed) => throw new UserErrorException(
        "test is run by the script ./atelier of a checkout, and this is the program itself.");
}
