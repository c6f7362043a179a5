// The identity of weight files: the digest of their content, not their name.
using System.Security.Cryptography;
using System.Text;

namespace Atelier.Model.Weights;

/// <summary>SHA-256 digests of weight files, as 64 lower-case hexadecimal digits.</summary>
public static class WeightDigest
{
    /// <summary>Computes the digest of a file's bytes, read as a stream.</summary>
    public static string OfFile(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    /// <summary>
    /// The digest of open weights: the digest of their file or, for sharded weights, the digest of a list of the files,
    /// each given as digest, two spaces, file name and line feed. The index comes first, then the shards in ordinal
    /// order.
    /// </summary>
    public static string Of(IWeightSource source)
    {
        ArgumentNullException.ThrowIfNull(source);
        if (source is not ShardedWeights sharded)
        {
            return OfFile(source.Path);
        }

        var list = new StringBuilder();
        foreach (var path in sharded.ShardPaths.Prepend(sharded.Path))
        {
            list.Append(OfFile(path)).Append("  ").Append(Path.GetFileName(path)).Append('\n');
        }

        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(list.ToString())));
    }
}
