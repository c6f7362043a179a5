// Output files of commands. A command checks that it can write them before its work starts, and never leaves an
// incomplete file.
using Atelier.Model;

namespace Atelier.Cli;

internal static class OutputFile
{
    /// <summary>Checks that a file can be written, and leaves no trace of the check.</summary>
    /// <param name="option">The option that names the file.</param>
    /// <param name="path">The file.</param>
    /// <exception cref="UserErrorException">The file cannot be written.</exception>
    public static void Check(string option, string path)
    {
        if (path.Length == 0 || Directory.Exists(path) || Path.EndsInDirectorySeparator(path))
        {
            throw new UserErrorException($"{option} is \"{path}\", which is not the name of a file.");
        }

        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (!Directory.Exists(folder))
        {
            throw new UserErrorException($"{option} is \"{path}\", but there is no folder {folder}.");
        }

        if (IsDevice(path))
        {
            return;
        }

        try
        {
            using var probe = new FileStream(
                WholeFile.Aside(path), FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 1,
                FileOptions.DeleteOnClose);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UserErrorException($"{option} is \"{path}\", but it cannot be written: {error.Message}");
        }
    }

    /// <summary>Checks the file of <c>--json</c>, if it is given.</summary>
    public static void CheckJson(FileInfo? file)
    {
        if (file is not null)
        {
            Check("--json", file.ToString());
        }
    }

    /// <summary>Writes a temporary file, which then replaces the given one.</summary>
    public static void Write(string path, ReadOnlySpan<byte> bytes)
    {
        if (IsDevice(path))
        {
            using var device = new FileStream(path, FileMode.Open, FileAccess.Write);
            device.Write(bytes);
            return;
        }

        byte[] content = bytes.ToArray();
        WholeFile.Write(path, file => file.Write(content));
    }

    // Existing entries of /dev and /proc, such as /dev/stdout and /dev/null, are not files that can be replaced.
    private static bool IsDevice(string path) =>
        Path.GetFullPath(path) is { } full && File.Exists(full)
        && (full.StartsWith("/dev/", StringComparison.Ordinal) || full.StartsWith("/proc/", StringComparison.Ordinal));
}
