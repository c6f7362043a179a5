using System.IO.Hashing;
using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace Atelier.Model.Data.Mds;

/// <summary>Computes the checksums that an index may list, by their names in Python's hashlib and xxhash.</summary>
internal sealed class MdsHashes : IDisposable
{
    /// <summary>The names that <see cref="IsKnown"/> accepts, as a list for messages.</summary>
    public const string Known = "md5, sha1, sha256, sha384, sha512, xxh32, xxh64, xxh3_64, xxh128, xxh3_128";

    private const int BufferBytes = 1 << 20;
    private readonly (string Name, IncrementalHash? Secure, NonCryptographicHashAlgorithm? Fast)[] _hashes;

    /// <summary>Starts the checksums of one file.</summary>
    public MdsHashes(IEnumerable<string> names) =>
        _hashes = [.. names.Select(name => (name, Secure(name), Fast(name)))];

    public static bool IsKnown(string name) => Known.Split(", ").Contains(name);

    /// <summary>The checksums of an open file's first <paramref name="bytes"/> bytes.</summary>
    public static Dictionary<string, string> Of(SafeFileHandle file, long bytes, IEnumerable<string> names)
    {
        using var hashes = new MdsHashes(names);
        var buffer = new byte[Math.Min(bytes, BufferBytes)];
        for (long at = 0; at < bytes && hashes._hashes.Length > 0;)
        {
            int read = RandomAccess.Read(file, buffer.AsSpan(0, (int)Math.Min(buffer.Length, bytes - at)), at);
            if (read == 0)
            {
                break;  // The file has shrunk in the meantime, so its checksums will differ.
            }

            hashes.Append(buffer.AsSpan(0, read));
            at += read;
        }

        return hashes.Finish();
    }

    public void Append(ReadOnlySpan<byte> bytes)
    {
        foreach (var (_, secure, fast) in _hashes)
        {
            secure?.AppendData(bytes);
            fast?.Append(bytes);
        }
    }

    /// <summary>The checksums by name, in lower-case hexadecimal.</summary>
    public Dictionary<string, string> Finish() => _hashes.ToDictionary(
        hash => hash.Name,
        hash => Convert.ToHexStringLower(hash.Secure?.GetHashAndReset() ?? hash.Fast!.GetCurrentHash()));

    public void Dispose()
    {
        foreach (var (_, secure, _) in _hashes)
        {
            secure?.Dispose();
        }
    }

    private static IncrementalHash? Secure(string name) => name switch
    {
        "md5" => IncrementalHash.CreateHash(HashAlgorithmName.MD5),
        "sha1" => IncrementalHash.CreateHash(HashAlgorithmName.SHA1),
        "sha256" => IncrementalHash.CreateHash(HashAlgorithmName.SHA256),
        "sha384" => IncrementalHash.CreateHash(HashAlgorithmName.SHA384),
        "sha512" => IncrementalHash.CreateHash(HashAlgorithmName.SHA512),
        _ => null,
    };

    private static NonCryptographicHashAlgorithm? Fast(string name) => name switch
    {
        "xxh32" => new XxHash32(),
        "xxh64" => new XxHash64(),
        "xxh3_64" => new XxHash3(),
        "xxh128" or "xxh3_128" => new XxHash128(),
        _ => null,
    };
}
