// A blob store in a folder. A blob is a folder named by its digest, with one file for each generation that needs it:
//
//     pictures/TENANT/ab/abcd...ef/GENERATION
//
// The files are names of one and the same content (hard links), so the file system counts who needs it: each owner
// puts and releases a name of its own, no two of them ever touch the same one, and several processes may share the
// folder without a lock. A file is written aside, flushed to disk, and then renamed; its folders are flushed before the
// answer.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Blobs;

/// <summary>What can be set about a store in a folder.</summary>
public sealed class FolderBlobStoreOptions
{
    /// <summary>Gets or sets the folder; it is made if it is not there.</summary>
    public required string Folder { get; set; }

    /// <summary>Gets or sets the size of the largest blob, in bytes.</summary>
    /// <value>The default is 64 MiB.</value>
    public int BlobBytesMax { get; set; } = 64 << 20;

    /// <summary>Gets or sets the age at which a file that was never finished is deleted at start.</summary>
    /// <remarks>It must exceed the time that any write takes, since another process may be writing.</remarks>
    /// <value>The default is 1 hour.</value>
    public TimeSpan LeftoverAge { get; set; } = TimeSpan.FromHours(1);

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when string.IsNullOrWhiteSpace(Folder) => $"{nameof(Folder)} must name a folder.",
        { BlobBytesMax: < 1 } => $"{nameof(BlobBytesMax)} must be positive.",
        _ when LeftoverAge < TimeSpan.Zero => $"{nameof(LeftoverAge)} must not be negative.",
        _ => null,
    };
}

/// <summary>A blob store in a folder, which several processes may share.</summary>
public sealed class FolderBlobStore : IBlobStore
{
    // Attempts against others who release the same blob at the same time.
    private const int TriesMax = 100;

    // Error numbers that a race between owners leads to: EEXIST and ENOTEMPTY.
    private const int Exists = 17;
    private const int NotEmpty = 39;

    private readonly FolderBlobStoreOptions _options;
    private readonly string _root;
    private readonly string _aside;

    /// <summary>Opens the store, and clears away what writers left that died long ago.</summary>
    /// <exception cref="ArgumentException">The options make no sense; the message says why.</exception>
    /// <exception cref="IOException">The folder cannot be made.</exception>
    public FolderBlobStore(FolderBlobStoreOptions options, TimeProvider clock)
    {
        _options = options.Fault() is { } fault ? throw new ArgumentException(fault, nameof(options)) : options;
        _root = Path.GetFullPath(options.Folder);
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
    /// <exception cref="ArgumentException">The bytes are too many, or are not the name's.</exception>
    /// <exception cref="IOException">The disk refuses.</exception>
    public Task PutAsync(BlobName name, GenerationId owner, byte[] bytes, CancellationToken cancellation)
    {
        string folder = FolderOf(name), file = FileOf(folder, owner);
        if (bytes.Length > _options.BlobBytesMax)
        {
            throw new ArgumentException(
                $"{name} has {bytes.Length} bytes; the store takes at most {_options.BlobBytesMax}.", nameof(bytes));
        }

        if (!IsOf(name, bytes))
        {
            throw new ArgumentException($"The bytes are not those of {name}.", nameof(bytes));
        }

        return AskAsync(name, () => Put(name, folder, file, bytes), cancellation);
    }

    /// <inheritdoc/>
    /// <remarks>Damaged bytes count as gone; another owner's sound ones serve as well.</remarks>
    /// <exception cref="IOException">The disk refuses.</exception>
    public async Task<byte[]?> GetAsync(BlobName name, CancellationToken cancellation)
    {
        string folder = FolderOf(name);
        byte[]? bytes = null;
        await AskAsync(name, () => bytes = Get(name, folder)?.Bytes, cancellation);
        return bytes;
    }

    /// <inheritdoc/>
    /// <exception cref="IOException">The disk refuses.</exception>
    public Task ReleaseAsync(BlobName name, GenerationId owner, CancellationToken cancellation)
    {
        string folder = FolderOf(name), file = FileOf(folder, owner);
        return AskAsync(name, () => Release(folder, file), cancellation);
    }

    // What the disk refuses, in the words of all stores.
    private static async Task AskAsync(BlobName name, Action work, CancellationToken cancellation)
    {
        try
        {
            await Task.Run(work, cancellation);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new IOException($"The folder of {name} cannot be used: {error.Message}", error);
        }
    }

    private void Put(BlobName name, string folder, string file, byte[] bytes)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                Directory.CreateDirectory(folder);
                if (Read(name, file) is null)
                {
                    Place(name, folder, file, bytes);
                }

                // Also where the file was there already: whoever wrote it may have died before this.
                for (string? at = folder; at is not null && at.Length >= _root.Length; at = Path.GetDirectoryName(at))
                {
                    DurableFiles.FlushFolder(at);
                }

                return;
            }
            catch (IOException error) when (attempt < TriesMax && IsRace(error))
            {
                // The last owner left, and took the folder along, while it was made or before it was filled. What the
                // disk refuses for another reason, it refuses again: a full disk is asked once.
            }
        }
    }

    private static bool IsRace(IOException error) =>
        error is DirectoryNotFoundException or FileNotFoundException || error.HResult is Exists or NotEmpty;

    // A link where there is something sound to link to, and the bytes themselves where there is not.
    private void Place(BlobName name, string folder, string file, byte[] bytes)
    {
        string aside = Path.Combine(_aside, Guid.NewGuid().ToString("N"));
        try
        {
            if (Get(name, folder) is not { } found || !DurableFiles.TryLink(found.File, aside))
            {
                DurableFiles.Write(aside, bytes);
            }

            File.Move(aside, file, overwrite: true);
        }
        finally
        {
            // Renaming over another name of the same content leaves the old name.
            File.Delete(aside);
        }
    }

    private (string File, byte[] Bytes)? Get(BlobName name, string folder)
    {
        if (!Directory.Exists(folder))
        {
            return null;
        }

        try
        {
            foreach (string file in Directory.EnumerateFiles(folder))
            {
                if (Read(name, file) is { } bytes)
                {
                    return (file, bytes);
                }
            }
        }
        catch (DirectoryNotFoundException)
        {
            // Released meanwhile.
        }

        return null;
    }

    // The file's bytes if they are there and sound.
    private byte[]? Read(BlobName name, string file)
    {
        try
        {
            using var stream = new FileStream(
                file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            if (stream.Length > _options.BlobBytesMax)
            {
                return null;
            }

            var bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return IsOf(name, bytes) ? bytes : null;
        }
        catch (Exception error)
            when (error is FileNotFoundException or DirectoryNotFoundException or EndOfStreamException)
        {
            return null;
        }
    }

    private static void Release(string folder, string file)
    {
        try
        {
            File.Delete(file);
            DurableFiles.FlushFolder(folder);
        }
        catch (DirectoryNotFoundException)
        {
            return; // Nobody needs the blob any more.
        }

        try
        {
            Directory.Delete(folder);
            DurableFiles.FlushFolder(Path.GetDirectoryName(folder)!);
        }
        catch (IOException)
        {
            // It is not empty, or another owner was faster. At worst an empty folder is left, which is no blob.
        }
    }

    private static bool IsOf(BlobName name, byte[] bytes) =>
        Convert.ToHexStringLower(SHA256.HashData(bytes)) == name.Sha256;

    // Names are checked where they become paths, whoever made them.
    private string FolderOf(BlobName name)
    {
        if (!BlobName.TryParse(name.Value, out _))
        {
            throw new ArgumentException($"'{name.Value}' names no blob.", nameof(name));
        }

        string[] parts = name.Value.Split('/');
        return Path.Combine(_root, parts[0], parts[1], parts[2][..2], parts[2]);
    }

    private static string FileOf(string folder, GenerationId owner) => Names.AreValid(owner.Value)
        ? Path.Combine(folder, owner.Value)
        : throw new ArgumentException($"'{owner.Value}' names no generation.", nameof(owner));
}
