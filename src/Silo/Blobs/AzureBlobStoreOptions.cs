// The options of a blob store in Azure Blob Storage.
using Atelier.Configuration;
using Azure.Storage.Blobs;

namespace Atelier.Silo.Blobs;

/// <summary>The store in Azure Blob Storage, used if <see cref="Connection"/> is set.</summary>
[Section("Blobs")]
public sealed class AzureBlobStoreOptions
{
    /// <summary>Gets or sets the connection string of Azure Blob Storage.</summary>
    /// <value>The default is none: blobs are in a folder.</value>
    [Key("Blobs:Azure"), ClusterWide]
    public string? Connection { get; set; }

    /// <summary>Gets or sets the container in Azure Blob Storage, which is created if there is none.</summary>
    /// <value>The default is "atelier".</value>
    [ClusterWide]
    public string Container { get; set; } = "atelier";

    /// <summary>Gets or sets how often a call of Azure is retried if the service fails temporarily.</summary>
    /// <value>The default is 5.</value>
    [Bounds(0, 100)]
    public int RetriesMax { get; set; } = 5;

    /// <summary>Gets or sets how long one try of a call of Azure may take.</summary>
    /// <remarks>It must be long enough for one block, 8 MiB unless a blob has more than 390 GiB.</remarks>
    /// <value>The default is 30 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan TryTimeout { get; set; } = TimeSpan.FromSeconds(30);
}

/// <summary>Validates the options of a store in Azure Blob Storage.</summary>
internal sealed class AzureBlobStoreOptionsValidator : OptionsValidator<AzureBlobStoreOptions>
{
    private static readonly TimeSpan s_blockTime = TimeSpan.FromSeconds(2);

    public override IEnumerable<string> Warnings(AzureBlobStoreOptions options)
    {
        if (options.TryTimeout < s_blockTime)
        {
            yield return $"{Key(nameof(options.TryTimeout))} is {options.TryTimeout}: a block of 8 MiB may take longer "
                + "to upload, and every try of it is then given up.";
        }
    }

    protected override IEnumerable<string> Faults(AzureBlobStoreOptions options)
    {
        // The message does not repeat the account's key, because it ends up in logs.
        if (options.Connection is { } connection && !IsConnection(connection))
        {
            yield return $"{Key(nameof(options.Connection))} must be a connection string of Azure Blob Storage, with "
                + "the account's name and key or a shared access signature.";
        }

        if (!IsContainerName(options.Container))
        {
            yield return $"{Key(nameof(options.Container))} is {options.Container}; it must be 3 to 63 lower-case "
                + "letters, digits and single '-' between them.";
        }
    }

    // Makes a client, which reads the string and calls nothing.
    private static bool IsConnection(string text)
    {
        try
        {
            return new BlobServiceClient(text).Uri.IsAbsoluteUri;
        }
        catch (Exception error) when (error is ArgumentException or FormatException or InvalidOperationException)
        {
            return false;
        }
    }

    private static bool IsContainerName(string? name) =>
        name is { Length: >= 3 and <= 63 }
            && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-')
        && name[0] != '-' && name[^1] != '-' && !name.Contains("--", StringComparison.Ordinal);
}
