// The configuration files of training stages, as a command line names them.
namespace Atelier.Cli;

internal static class StageFiles
{
    /// <summary>A stage's file itself, or the stages of a folder in the order of their names.</summary>
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
