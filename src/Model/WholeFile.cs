// Files that exist either completely or not at all: they are written under a temporary name and then renamed.
using System.Text;

namespace Atelier.Model;

/// <summary>Writes files so that a reader sees either the complete file or none.</summary>
public static class WholeFile
{
    /// <summary>The path at which a file or folder is written before it is complete.</summary>
    public static string Aside(string path) => path + ".part";

    /// <summary>
    /// Writes a file and replaces an existing file of the same name. A failed write leaves no partial file.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes its bytes.</param>
    /// <param name="mode">Permissions of the file from its creation on; null for the process's default mode.</param>
    public static void Write(string path, Action<FileStream> write, UnixFileMode? mode = null)
    {
        ArgumentNullException.ThrowIfNull(write);
        string aside = Aside(path);
        File.Delete(aside); // A file that a killed process left behind may have another mode.
        try
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite, UnixCreateMode = mode,
            };
            using (var file = new FileStream(aside, options))
            {
                write(file);
            }

            File.Move(aside, path, overwrite: true);
        }
        catch
        {
            File.Delete(aside);
            throw;
        }
    }

    /// <summary>Writes a text as UTF-8 without a byte order mark.</summary>
    public static void WriteText(string path, string text) =>
        Write(path, file => file.Write(Encoding.UTF8.GetBytes(text)));
}
