// What .NET has no words for: flushing a folder's entries to disk, and a second name for a file.
using System.Runtime.InteropServices;

namespace Atelier.Silo.Blobs;

/// <summary>Files that survive the death of the machine.</summary>
internal static class DurableFiles
{
    // O_RDONLY | O_CLOEXEC: the latter has one value on all of Linux's 64-bit machines.
    private const int ReadOnlyAndNotInherited = 0x80000;

    private const int NotThere = 2; // ENOENT

    /// <summary>
    /// Writes a new file and flushes its bytes to disk. Its name is durable once its folder is flushed.
    /// </summary>
    public static void Write(string path, byte[] bytes)
    {
        using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
        file.Write(bytes);
        file.Flush(flushToDisk: true);
    }

    /// <summary>Flushes a folder: names made, changed and taken away in it before are durable afterwards.</summary>
    /// <exception cref="IOException">The folder is not there, or the disk refuses.</exception>
    public static void FlushFolder(string path)
    {
        int handle = Open(path, ReadOnlyAndNotInherited);
        if (handle < 0)
        {
            throw Failure("opened", path);
        }

        try
        {
            if (Flush(handle) != 0)
            {
                throw Failure("flushed to disk", path);
            }
        }
        finally
        {
            _ = Close(handle);
        }
    }

    /// <summary>
    /// Gives a file a second name, which lives as long as it is not deleted itself; false if that is not possible here.
    /// </summary>
    public static bool TryLink(string existing, string name) => Link(existing, name) == 0;

    private static IOException Failure(string what, string path)
    {
        string message = $"The folder {path} cannot be {what}: {Marshal.GetLastPInvokeErrorMessage()}.";
        return Marshal.GetLastPInvokeError() == NotThere
            ? new DirectoryNotFoundException(message) : new IOException(message);
    }

    [DllImport("libc", EntryPoint = "open", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

    [DllImport("libc", EntryPoint = "fsync", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Flush(int handle);

    [DllImport("libc", EntryPoint = "close", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Close(int handle);

    [DllImport("libc", EntryPoint = "link", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Link(
        [MarshalAs(UnmanagedType.LPUTF8Str)] string existing, [MarshalAs(UnmanagedType.LPUTF8Str)] string name);
}
