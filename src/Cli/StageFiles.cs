// The configuration files of the training stages that a command line names.
namespace Atelier.Cli;

internal static class StageFiles
{
    /// <summary>The path itself if it is a file; otherwise the stages' files in the folder, ordered by name.</summary>
    /// <exception cref="UserErrorException">There is no such file or folder, or the folder holds no stage.</exception>
    public static string[] Of(string path)
    {
        if (File.Exists(path))
        {
            return [path];
        }

        if (!Directory.Exists(path))
        {
            throw new UserErrorException($"There is no file or folder {path}.");
        }

        string[] stages =
        [
            .. Directory.GetFiles(path)
                .Where(file => Path.GetExtension(file).ToLowerInvariant() is ".yaml" or ".yml")
                .Order(StringComparer.Ordinal),
        ];
        return stages.Length > 0 ? stages : throw new UserErrorException($"{path} holds no .yaml or .yml file.");
    }
}
