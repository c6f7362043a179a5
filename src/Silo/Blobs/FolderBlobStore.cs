// A blob store in a folder. A blob is a folder named by its digest, with one file for each owner that needs the blob.
// Folders of the cluster's own blobs are not inside a tenant's folder:
//
//     pictures/TENANT/ab/abcd...ef/GENERATION
//     checkpoints/ab/abcd...ef/run.RUN
//
// All files of a blob are names (hard links) of the same content, so the file system counts the owners: each owner puts
// and releases its own name, no two owners ever touch the same name, and several processes may share the folder without
// a lock. A new file is written to the folder "aside", its digest is checked, it is flushed to disk, and then it is
// renamed. Its folders are flushed before the put returns.
//
// A put sets the content's time before it renames the file. ReleaseOlderAsync therefore first renames the owner's file
// to a name of its own, OWNER~NUMBER, which nobody else changes, and only then reads its time. If a put came before,
// the file is young and is renamed back; a put that comes after creates another name of the content. At every moment
// the content has a name in the blob's folder, so readers find it. If the process dies in between, the next
// ReleaseOlderAsync finds the leftover name and decides about it.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Blobs;

/// <summary>A blob store in a folder, which several processes may share.</summary>
public sealed class FolderBlobStore : IBlobStore
{
    // Maximum number of attempts while others release the same blob.
    private const int TriesMax = 100;

    // Separates owner and number in the name of a file that is about to be released. Neither of them contains it.
    private const char Released = '~';

    // Error numbers that a race between owners can cause: EEXIST and ENOTEMPTY.
    private const int Exists = 17;
    private const int NotEmpty = 39;

    private readonly TimeProvider _clock;
    private readonly string _root;
    private readonly string _aside;

    /// <summary>Opens the store, and deletes old files that crashed writers left behind.</summary>
    /// <exception cref="ArgumentException">The options are invalid; the message says why.</exception>
    /// <exception cref="IOException">The folder cannot be created.</exception>
    public FolderBlobStore(FolderBlobStoreOptions options, TimeProvider clock)
    {
        _clock = clock;
        _root = Path.GetFullPath(new FolderBlobStoreOptionsValidator().Require(options).Folder);
        _aside = Path.Combine(_root, "aside");
        Directory.CreateDirectory(_aside);
        DateTime old = (clock.GetUtcNow() - options.LeftoverAge).UtcDateTime;
        foreach (string file in Directory.EnumerateFiles(_aside))
        {
            if (File.GetLastWriteTimeUtc(file) < old)
            {
                File.Delete(file);
            }
        }
    }

    /// <inheritdoc/>
    public Task PutAsync(
        BlobName name, BlobOwner owner, Stream content, long length, CancellationToken cancellation)
    {
        string folder = FolderOf(name), file = Path.Combine(folder, owner.SpellingFor(name));
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        string aside = Path.Combine(_aside, Guid.NewGuid().ToString("N"));
        return AskAsync(name, async () =>
        {
            try
            {
                await FillAsync(name, folder, aside, content, length, cancellation);
                Place(folder, file, aside);
            }
            finally
            {
                // If the new name already refers to the same content, the rename leaves the old name.
                File.Delete(aside);
            }

            return true;
        }, cancellation);
    }

    /// <inheritdoc/>
    /// <remarks>If the owners' files differ, the first intact one is opened.</remarks>
    public Task<BlobContent?> OpenAsync(BlobName name, BlobRange range, CancellationToken cancellation)
    {
        string folder = FolderOf(name);
        _ = range.LengthIn(0);
        return AskAsync(name, async () =>
        {
            for (int attempt = 1; ; attempt++)
            {
                FileInfo[] files = FilesOf(folder);
                bool areOne = files.DistinctBy(file => (file.Length, file.LastWriteTimeUtc)).Take(2).Count() == 1;
                (string? file, bool areAllRead) = areOne
                    ? (files[0].FullName, false)
                    : await FindSoundAsync(name, files, cancellation);
                if (file is not null && DurableFiles.TryOpen(file) is { } stream)
                {
                    return ContentOf(stream, name, range);
                }

                // A file that could not be opened may now exist under another name, or again under the same one.
                bool isSettled = files.Length == 0 ? !Directory.Exists(folder) : file is null && areAllRead;
                if (isSettled || attempt == TriesMax)
                {
                    return null;
                }
            }
        }, cancellation);
    }

    /// <inheritdoc/>
    public Task ReleaseAsync(BlobName name, BlobOwner owner, CancellationToken cancellation)
    {
        string folder = FolderOf(name), file = Path.Combine(folder, owner.SpellingFor(name));
        return AskAsync(name, () => Task.FromResult(Release(folder, () =>
        {
            File.Delete(file);
            return true;
        })), cancellation);
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StoredBlob> ListAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        foreach (BlobKindInfo kind in BlobKinds.All)
        {
            string at = Path.Combine(_root, kind.Spelling);
            foreach (string above in kind.Scope == BlobScope.Tenant ? FoldersOf(at) : [at])
            {
                foreach (string folder in FoldersOf(above).SelectMany(FoldersOf))
                {
                    string name = Path.GetRelativePath(_root, above) + "/" + Path.GetFileName(folder);
                    if (BlobName.TryParse(name, out BlobName blob) && FolderOf(blob) == folder
                        && await AskAsync(blob, () => Task.FromResult(Stored(blob, folder)), cancellation) is { } found)
                    {
                        yield return found;
                    }
                }
            }
        }
    }

    /// <inheritdoc/>
    public Task<bool> ReleaseOlderAsync(
        BlobName name, BlobOwner? owner, DateTimeOffset before, CancellationToken cancellation)
    {
        string folder = FolderOf(name);
        string? spelling = owner?.SpellingFor(name);
        return AskAsync(name, () => Task.FromResult(Release(
            folder, () => spelling is null || ReleaseOlder(folder, spelling, before.UtcDateTime))), cancellation);
    }

    // Runs the work outside the caller's scheduler. If access is denied, throws an IOException, as all stores do.
    private static async Task<T> AskAsync<T>(BlobName name, Func<Task<T>> work, CancellationToken cancellation)
    {
        try
        {
            return await Task.Run(work, cancellation);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new IOException($"The folder of {name} cannot be used: {error.Message}", error);
        }
    }

    // Creates the file aside: a link to an intact file if there is one, else a new file with the stream's bytes.
    private async Task FillAsync(
        BlobName name, string folder, string aside, Stream content, long length, CancellationToken cancellation)
    {
        await using var announced = BlobStream.Announced(content, name, length);
        if (await FindSoundAsync(name, FilesOf(folder), cancellation) is ({ } there, _)
            && DurableFiles.TryLink(there, aside))
        {
            // The time is set at once, so that the file does not count as a leftover, and again after the stream was
            // read.
            DurableFiles.SetTime(aside, _clock);
            await announced.CopyToAsync(Stream.Null, cancellation);
            DurableFiles.SetTime(aside, _clock);
            return;
        }

        await DurableFiles.WriteAsync(aside, announced, _clock, cancellation);
    }

    private void Place(string folder, string file, string aside)
    {
        bool isPlaced = false;
        RetryRaces(() =>
        {
            if (isPlaced && !File.Exists(aside))
            {
                return; // The owner itself has released the blob meanwhile.
            }

            Directory.CreateDirectory(folder);
            File.Move(aside, file, overwrite: true);
            isPlaced = true;

            // All folders are flushed, because another put may have created one and died before flushing it.
            for (string? at = folder; at is not null && at.Length >= _root.Length; at = Path.GetDirectoryName(at))
            {
                DurableFiles.FlushFolder(at);
            }
        });
    }

    /// <summary>
    /// Runs a put again if the last owner's release deleted the folder while the put created it, or before the put
    /// moved the file into it. Other errors, such as a full disk, would only recur, so they are not retried.
    /// </summary>
    internal static void RetryRaces(Action put)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                put();
                return;
            }
            catch (IOException error) when (attempt < TriesMax && IsRace(error))
            {
                // The folder is created again.
            }
        }
    }

    private static bool IsRace(IOException error) =>
        error is DirectoryNotFoundException or FileNotFoundException || error.HResult is Exists or NotEmpty;

    // A file with the blob's bytes, or null; and whether all files before it could be read.
    private static async Task<(string? File, bool AreAllRead)> FindSoundAsync(
        BlobName name, FileInfo[] files, CancellationToken cancellation)
    {
        bool areAllRead = true;
        foreach (FileInfo file in files)
        {
            try
            {
                if (DurableFiles.TryOpen(file.FullName) is { } stream)
                {
                    await using var whole = BlobStream.Whole(stream, name, stream.Length);
                    await whole.CopyToAsync(Stream.Null, cancellation);
                    return (file.FullName, areAllRead);
                }

                areAllRead = false;
            }
            catch (InvalidDataException)
            {
                // A damaged file counts as absent.
            }
        }

        return (null, areAllRead);
    }

    private static BlobContent ContentOf(FileStream stream, BlobName name, BlobRange range)
    {
        long length = stream.Length;
        if (range.IsWhole)
        {
            return new BlobContent(length, BlobStream.Whole(stream, name, length));
        }

        stream.Position = Math.Min(range.Offset, length);
        return new BlobContent(length, BlobStream.Part(stream, name, range.LengthIn(length)));
    }

    // The files of a folder as they are now; empty if there is no such folder.
    private static FileInfo[] FilesOf(string folder)
    {
        try
        {
            return [.. new DirectoryInfo(folder).EnumerateFiles().Where(file => file.Exists)];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    private static string[] FoldersOf(string folder)
    {
        try
        {
            return Directory.GetDirectories(folder);
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
        catch (UnauthorizedAccessException error)
        {
            throw new IOException($"{folder} cannot be read: {error.Message}", error);
        }
    }

    private static StoredBlob? Stored(BlobName name, string folder)
    {
        FileInfo[] files = FilesOf(folder);
        BlobHolder[] holders =
        [
            .. files.Select(file => (Spelling: file.Name.Split(Released)[0], file.LastWriteTimeUtc))
                .GroupBy(file => file.Spelling, StringComparer.Ordinal)
                .Select(same => new BlobHolder(
                    same.Key, BlobOwner.TryParse(same.Key, out BlobOwner owner) ? owner : null,
                    new DateTimeOffset(same.Max(file => file.LastWriteTimeUtc)))),
        ];
        return holders.Length == 0
            ? null
            : new StoredBlob(name, files.Max(file => file.Length), holders.Max(one => one.PutAt), holders);
    }

    // Runs a deletion of files, then deletes the folder if it is empty; returns the result of the deletion.
    private static bool Release(string folder, Func<bool> take)
    {
        bool taken;
        try
        {
            taken = take();
            DurableFiles.FlushFolder(folder);
        }
        catch (DirectoryNotFoundException)
        {
            return true; // Nobody needs the blob anymore.
        }

        try
        {
            Directory.Delete(folder);
            DurableFiles.FlushFolder(Path.GetDirectoryName(folder)!);
        }
        catch (IOException)
        {
            // The folder is not empty, or another owner deleted it first. At worst an empty folder is left, which is
            // not a blob.
        }

        return taken;
    }

    // Returns false if a file of the owner is not older than the given time. Two calls may run at once: each decides
    // only about names of its own.
    private static bool ReleaseOlder(string folder, string spelling, DateTime before)
    {
        string file = Path.Combine(folder, spelling);
        bool isReleased = true;
        foreach (string one in Directory.GetFiles(folder).Where(
            path => path == file || path.StartsWith($"{file}{Released}", StringComparison.Ordinal)))
        {
            string mine = $"{file}{Released}{Guid.NewGuid():N}";
            try
            {
                // Without overwrite, .NET would create a link and then delete whatever file has the old name by then.
                File.Move(one, mine, overwrite: true);
                if (File.GetLastWriteTimeUtc(mine) >= before)
                {
                    isReleased = false;
                    File.Move(mine, file, overwrite: true);
                }

                File.Delete(mine);
            }
            catch (FileNotFoundException)
            {
                // Another release was faster.
            }
        }

        return isReleased;
    }

    // Names are checked where they become paths, wherever they come from.
    private string FolderOf(BlobName name)
    {
        if (!BlobName.TryParse(name.Value, out _))
        {
            throw new ArgumentException($"'{name.Value}' is not the name of a blob.", nameof(name));
        }

        int digest = name.Value.LastIndexOf('/') + 1;
        return Path.Combine(_root, name.Value[..digest], name.Sha256[..2], name.Sha256);
    }
}
