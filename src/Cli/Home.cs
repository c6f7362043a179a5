// The repository's folder, which is needed to find the default model from any working directory.
namespace Atelier.Cli;

internal static class Home
{
    /// <summary>Environment variable in which the atelier script passes the repository's folder.</summary>
    public const string Variable = "ATELIER_HOME";

    /// <summary>
    /// The path itself if it exists or the script was not used; otherwise the path within the repository.
    /// </summary>
    public static string At(string path) =>
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } home && !Path.Exists(path)
            ? Path.Combine(home, path)
            : path;
}
