// Files that are there whole or not at all: they are written aside and then renamed.
using System.Text;

namespace Atelier.Model;

/// <summary>Writes files in one piece, as a reader sees it.</summary>
public static class WholeFile
{
    /// <summary>Where a file or folder is written before it is complete.</summary>
    public static string Aside(string path) => path + ".part";

    /// <summary>Writes a file; one of the same name is replaced. A write that fails leaves nothing.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes its bytes.</param>
    /// <param name="mode">Who may read and write it from its creation on; null for the process's usual mode.</param>
    public static void Write(string path, Action<FileStream> write, UnixFileMode? mode = null)
    {
        ArgumentNullException.ThrowIfNull(write);
        string aside = Aside(path);
        File.Delete(aside); // What a process that died left behind may have another mode.
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
