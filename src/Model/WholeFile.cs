// Files that are there whole or not at all: they are written aside and then renamed.
using System.Text;

namespace Atelier.Model;

/// <summary>Writes files in one piece, as a reader sees it.</summary>
public static class WholeFile
{
    private const string Suffix = ".part";

    /// <summary>Writes a file; one of the same name is replaced.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes its bytes.</param>
    public static void Write(string path, Action<FileStream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        using (var file = new FileStream(path + Suffix, FileMode.Create, FileAccess.ReadWrite))
        {
            write(file);
        }

        File.Move(path + Suffix, path, overwrite: true);
    }

    /// <summary>Writes a text as UTF-8 without a byte order mark.</summary>
    public static void WriteText(string path, string text) =>
        Write(path, file => file.Write(Encoding.UTF8.GetBytes(text)));
}
