// The upload of data sets to a cluster, piece by piece. What the cluster has is not sent again, so an upload that was
// interrupted is repeated and resumes.
using System.Net;
using System.Security.Cryptography;
using Atelier.Cli.Cluster;
using Atelier.Model;
using Atelier.Model.Data.Caching;

namespace Atelier.Cli.Commands;

/// <summary>Uploads data sets.</summary>
/// <param name="client">The cluster, with the administrator's key.</param>
internal sealed class DataUpload(ClusterClient client)
{
    private const string Path = "/v1/training/data";
    private readonly Dictionary<string, string> _names = new(StringComparer.Ordinal);

    /// <summary>Uploads the data set in a folder, unless this object has done so before.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="cancellation">Cancels the upload.</param>
    /// <returns>Its name in the cluster: "blob:" and a digest.</returns>
    /// <exception cref="RefusedFileException">The folder is not a data set, or a file changes meanwhile.</exception>
    public async Task<string> RunAsync(string folder, CancellationToken cancellation)
    {
        if (_names.TryGetValue(folder, out string? known))
        {
            return known;
        }

        DataManifest manifest = await DataManifest.OfFolderAsync(
            folder, (_, _) => Task.CompletedTask, cancellation);
        byte[] json = manifest.Write();
        string set = Convert.ToHexStringLower(SHA256.HashData(json));
        if (json.Length > DataManifest.PieceBytesMax)
        {
            throw new UserErrorException(
                $"{folder} has too many files to be uploaded; use a folder that all silos see.");
        }

        (long sent, long all) = (0, manifest.Files.Sum(file => file.Length));
        DataManifest again = await DataManifest.OfFolderAsync(folder, async (piece, bytes) =>
        {
            sent += await PutAsync(set, piece.Sha256, bytes, cancellation) ? piece.Length : 0;
        }, cancellation);
        if (!again.Write().AsSpan().SequenceEqual(json))
        {
            throw new RefusedFileException(folder, "files", "have changed while they were uploaded; try again.");
        }

        await PutAsync(set, set, json, cancellation);
        Output.Line(
            $"{folder}: {DataManifest.Scheme}{set}, {manifest.Files.Count} files, {sent:n0} of {all:n0} bytes sent");
        return _names[folder] = DataManifest.Scheme + set;
    }

    // Returns whether the piece was sent.
    private async Task<bool> PutAsync(
        string set, string sha256, ReadOnlyMemory<byte> bytes, CancellationToken cancellation)
    {
        try
        {
            await client.RetryAsync(
                () => client.CallAsync(HttpMethod.Post, $"{Path}/{set}/{sha256}/hold", null, cancellation),
                cancellation);
            return false;
        }
        catch (ApiRefusalException refusal) when (refusal.Status == HttpStatusCode.NotFound)
        {
            await client.RetryAsync(
                () => client.PutAsync($"{Path}/{set}/{sha256}", bytes, cancellation), cancellation);
            return true;
        }
    }
}
