// A data set in a content-addressed store: a list of its files, which is stored under its own digest.
using System.Security.Cryptography;
using System.Text.Json;
using Atelier.Model.Data.Mds;

namespace Atelier.Model.Data.Caching;

/// <summary>A stored piece of a file.</summary>
/// <param name="Sha256">Digest of the piece, in lower-case hexadecimal.</param>
/// <param name="Length">Length in bytes.</param>
public sealed record DataPiece(string Sha256, long Length);

/// <summary>A file of a data set.</summary>
/// <param name="Name">Path relative to the data set's folder, with forward slashes.</param>
/// <param name="Length">Length in bytes.</param>
/// <param name="Sha256">Digest of the whole file, in lower-case hexadecimal.</param>
/// <param name="Pieces">The pieces that make up the file, in order.</param>
public sealed record DataFile(string Name, long Length, string Sha256, IReadOnlyList<DataPiece> Pieces);

/// <summary>The files of a data set, the index first.</summary>
/// <param name="Files">The files.</param>
public sealed record DataManifest(IReadOnlyList<DataFile> Files)
{
    /// <summary>Maximum length of a piece and of a manifest: they are uploaded and checked as a whole.</summary>
    public const int PieceBytesMax = 16 << 20;

    /// <summary>What the name of a data set in a store begins with; the digest of its manifest follows.</summary>
    public const string Scheme = "blob:";

    private static readonly JsonSerializerOptions s_json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    /// <summary>The digest in the name of a data set in a store; null if a data set is in a folder.</summary>
    /// <param name="entry">An entry of dataset.train.datadir.</param>
    /// <exception cref="RefusedFileException">The name has no valid digest.</exception>
    public static string? DigestIn(string entry)
    {
        if (!entry.StartsWith(Scheme, StringComparison.Ordinal))
        {
            return null;
        }

        string digest = entry[Scheme.Length..];
        return IsDigest(digest) ? digest : throw new RefusedFileException(
            entry, "name",
            "must be blob: and 64 lower-case hexadecimal digits, the digest of the data set's manifest.");
    }

    /// <summary>Reads a manifest that <see cref="Write"/> wrote.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <param name="name">Name of the data set, for messages.</param>
    /// <exception cref="RefusedFileException">It is not a valid manifest.</exception>
    public static DataManifest Parse(ReadOnlySpan<byte> bytes, string name)
    {
        DataManifest manifest;
        try
        {
            manifest = JsonSerializer.Deserialize<DataManifest>(bytes, s_json)
                ?? throw new JsonException("It is null.");
        }
        catch (JsonException error)
        {
            throw new RefusedFileException(name, "manifest", $"cannot be read: {error.Message}", error);
        }

        return manifest.Fault() is { } fault ? throw new RefusedFileException(name, "manifest", fault) : manifest;
    }

    /// <summary>The manifest as JSON. Equal manifests give equal bytes.</summary>
    public byte[] Write() => JsonSerializer.SerializeToUtf8Bytes(this, s_json);

    /// <summary>The files of a data set in a folder: its index and all shards.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="piece">Receives each piece in order: its digest and its bytes, valid during the call.</param>
    /// <param name="cancellation">Cancels the reading.</param>
    /// <exception cref="RefusedFileException">The folder is not a data set, or a file changes meanwhile.</exception>
    public static async Task<DataManifest> OfFolderAsync(
        string folder, Func<DataPiece, ReadOnlyMemory<byte>, Task> piece, CancellationToken cancellation)
    {
        MdsIndex index = MdsIndex.Read(folder);
        var files = new List<DataFile>();
        byte[] buffer = new byte[PieceBytesMax];
        foreach ((string name, string path) in index.Shards
            .Select(shard => (shard.Stored.Basename, index.Locate(shard)))
            .Prepend((MdsIndex.FileName, Path.Combine(folder, MdsIndex.FileName))))
        {
            var stamp = ShardStamps.Stamp.Of(path);
            var pieces = new List<DataPiece>();
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using FileStream file = File.OpenRead(path);
            for (int read; (read = await file.ReadAtLeastAsync(buffer, buffer.Length, false, cancellation)) > 0;)
            {
                hash.AppendData(buffer, 0, read);
                var one = new DataPiece(Convert.ToHexStringLower(SHA256.HashData(buffer.AsSpan(0, read))), read);
                await piece(one, buffer.AsMemory(0, read));
                pieces.Add(one);
            }

            if (ShardStamps.Stamp.Of(path) != stamp)
            {
                throw new RefusedFileException(path, "file", "has changed while it was read; try again.");
            }

            files.Add(new DataFile(
                name, pieces.Sum(one => one.Length), Convert.ToHexStringLower(hash.GetHashAndReset()), pieces));
        }

        return files[0].Sha256 == index.Digest
            ? new DataManifest(files)
            : throw new RefusedFileException(folder, MdsIndex.FileName, "has changed while it was read; try again.");
    }

    private string? Fault()
    {
        if (Files is not [{ Name: MdsIndex.FileName, Length: <= MdsIndex.FileBytesMax }, ..])
        {
            return $"must begin with {MdsIndex.FileName}.";
        }

        DataFile? wrong = Files.FirstOrDefault(file => !MdsIndex.IsInside(file.Name) || !IsDigest(file.Sha256)
            || file.Pieces.Any(piece => !IsDigest(piece.Sha256) || piece.Length is < 1 or > PieceBytesMax)
            || file.Length != file.Pieces.Sum(piece => piece.Length));
        return wrong is not null ? $"lists '{wrong.Name}' with an invalid name, length or digest."
            : Files.DistinctBy(file => file.Name).Count() < Files.Count ? "lists a file twice." : null;
    }

    private static bool IsDigest(string text) =>
        text.Length == 2 * SHA256.HashSizeInBytes && text.All(c => c is (>= '0' and <= '9') or (>= 'a' and <= 'f'));
}
