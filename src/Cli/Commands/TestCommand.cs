// The help of atelier test. The atelier script builds and runs the tests itself, without this program.
using System.CommandLine;

namespace Atelier.Cli.Commands;

internal static class TestCommand
{
    public static Command Create()
    {
        var command = new Command(
            "test", "Builds everything and runs the tests; available only in the ./atelier script of a checkout.")
        {
            new Option<bool>("--install")
            {
                Description = "Install the Debian packages that the tests need (the default as root).",
            },
            new Option<bool>("--long")
            {
                Description = "Run the full-size checks that the tests omit to save time; takes an hour or more.",
            },
            new Argument<string[]>("PART")
            {
                Description =
                    "With --long: scale (queue and store), seeds (simulations), attacks (processes); by default all. "
                    + "Without --long: options for dotnet test.",
                Arity = ArgumentArity.ZeroOrMore,
            },
        };
        command.SetAction(Refuse);
        return command;
    }

    private static int Refuse(ParseResult parsed) => throw new UserErrorException(
        "Only the ./atelier script of a checkout can run the tests; this is the program itself.");
}
