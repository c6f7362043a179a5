// Where the default model lies, whatever folder the command is called from.
namespace Atelier.Cli;

internal static class Home
{
    /// <summary>The variable by which the atelier script names the repository.</summary>
    public const string Variable = "ATELIER_HOME";

    /// <summary>A path in the repository; in the current folder where the script was not used.</summary>
    public static string At(string path) =>
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } home && !Path.Exists(path)
            ? Path.Combine(home, path)
            : path;
}
