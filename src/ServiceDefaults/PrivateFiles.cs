// Permissions of a cluster's files. The files contain prompts, pictures and keys, so only their user may read them: a
// process creates files without permissions for group and others, and removes such permissions from files that an
// earlier release, or somebody else, created.
using System.Runtime.InteropServices;

namespace Atelier.ServiceDefaults;

/// <summary>Keeps files and folders accessible to their user alone.</summary>
public static class PrivateFiles
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode WritableByOthers = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;
    private const uint UmaskOwnerOnly = 0x3F; // 077

    private static readonly EnumerationOptions s_all = new()
    {
        RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint, IgnoreInaccessible = true,
    };

    /// <summary>
    /// Sets the umask, so that new files and folders of this process and its children are accessible to their user
    /// alone.
    /// </summary>
    public static void CloseNew() => _ = Umask(UmaskOwnerOnly);

    /// <summary>
    /// Creates a folder for this user alone. If the folder exists, group and others lose all permissions on it and on
    /// everything in it.
    /// </summary>
    /// <returns>Warnings about what is still not private, each a sentence that says what to do.</returns>
    /// <exception cref="IOException">The folder cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder cannot be created.</exception>
    public static IReadOnlyList<string> MakeFolder(string path)
    {
        Directory.CreateDirectory(path, OwnerOnly);
        return [.. CloseFolder(path), .. Owner(path)];
    }

    /// <summary>Makes files private in a folder that others may still read. Absent files are skipped.</summary>
    /// <returns>Warnings about what is still not private, each a sentence that says what to do.</returns>
    public static IReadOnlyList<string> CloseFiles(string folder, params ReadOnlySpan<string> names)
    {
        var faults = new List<string>();
        foreach (string name in names)
        {
            string file = Path.Combine(folder, name);
            if (File.Exists(file) && !TryClose(file))
            {
                faults.Add(NotClosed(file));
            }
        }

        return faults;
    }

    /// <summary>
    /// Warnings about permissions by which others can replace files in a folder, each a sentence that says what to do.
    /// </summary>
    public static IReadOnlyList<string> Intruders(string folder)
    {
        UnixFileMode mode = File.GetUnixFileMode(folder);
        return (mode & WritableByOthers) != UnixFileMode.None && !mode.HasFlag(UnixFileMode.StickyBit)
            ?
            [
                $"{folder} is writable by other users, who can replace the files in it; run chmod go-w on it.",
                .. Owner(folder),
            ]
            : Owner(folder);
    }

    // Closes the folder itself first: after that, nobody else can reach its contents. For the same reason, the contents
    // of a folder that is already private are not checked.
    private static string[] CloseFolder(string path)
    {
        if (IsClosed(path))
        {
            return [];
        }

        string? open = TryClose(path) ? null : path;
        foreach (string entry in Directory.EnumerateFileSystemEntries(path, "*", s_all))
        {
            open = TryClose(entry) ? open : open ?? entry;
        }

        return open is null ? [] : [NotClosed(open)];
    }

    private static bool IsClosed(string path) => (File.GetUnixFileMode(path) & ~OwnerOnly) == UnixFileMode.None;

    private static bool TryClose(string path)
    {
        try
        {
            UnixFileMode mode = File.GetUnixFileMode(path);
            if ((mode & ~OwnerOnly) != UnixFileMode.None)
            {
                File.SetUnixFileMode(path, mode & OwnerOnly);
            }

            return true;
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string NotClosed(string path) =>
        $"{path} may be readable by other users, and its permissions cannot be changed; "
        + "run chmod go-rwx on it, or configure another folder.";

    private static string[] Owner(string folder) => TryOwner(folder) is { } owner && owner != 0 && owner != UserId()
        ? [$"{folder} belongs to the user with the id {owner}, who can read and replace the files in it; "
            + "configure a folder of your own."]
        : [];

    private static unsafe uint? TryOwner(string path)
    {
        const int CurrentFolder = -100, UserMask = 0x8, UserAt = 20, Bytes = 256;
        byte* found = stackalloc byte[Bytes];
        return Statx(CurrentFolder, path, 0, UserMask, found) == 0 ? *(uint*)(found + UserAt) : null;
    }

    [DllImport("libc", EntryPoint = "umask")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern uint Umask(uint mask);

    [DllImport("libc", EntryPoint = "geteuid")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern uint UserId();

    // Unlike stat, statx has the same layout of its result on every machine.
    [DllImport("libc", EntryPoint = "statx")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern unsafe int Statx(
        int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mask, byte* answer);
}
