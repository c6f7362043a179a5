// File operations that .NET does not offer: flushing a folder's entries to disk, and giving a file a second name.
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Atelier.Silo.Blobs;

/// <summary>Files that survive a crash of the machine.</summary>
internal static class DurableFiles
{
    // O_RDONLY | O_CLOEXEC: the latter has the same value on all 64-bit architectures of Linux.
    private const int ReadOnlyAndNotInherited = 0x80000;

    private const int NotThere = 2; // ENOENT

    private const int CopyBytes = 1 << 20;

    /// <summary>
    /// Writes a new file and flushes its bytes to disk. Its name is durable once its folder is flushed.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="content">The stream to write, up to its end; its length must be known.</param>
    /// <param name="clock">Gives the file's time of last write.</param>
    /// <param name="cancellation">Cancels the write.</param>
    public static async Task WriteAsync(
        string path, Stream content, TimeProvider clock, CancellationToken cancellation)
    {
        await using var file = new FileStream(
            path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.Asynchronous);
        await content.CopyToAsync(file, (int)Math.Clamp(content.Length, 1, CopyBytes), cancellation);
        File.SetLastWriteTimeUtc(file.SafeFileHandle, clock.GetUtcNow().UtcDateTime);
        file.Flush(flushToDisk: true);
    }

    /// <summary>Sets a file's time of last write to now, and flushes the change to disk.</summary>
    public static void SetTime(string path, TimeProvider clock)
    {
        using SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        File.SetLastWriteTimeUtc(file, clock.GetUtcNow().UtcDateTime);
        RandomAccess.FlushToDisk(file);
    }

    /// <summary>Opens a file for reading, while others may write or delete it; null if it does not exist.</summary>
    public static FileStream? TryOpen(string path)
    {
        try
        {
            return new FileStream(
                path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0,
                FileOptions.Asynchronous);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Flushes a folder, so that all names created, changed and deleted in it so far are durable.</summary>
    /// <exception cref="IOException">The folder does not exist, or it cannot be flushed.</exception>
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
    /// Gives a file a second name (a hard link), which stays until it is itself deleted; false if that is not possible.
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
