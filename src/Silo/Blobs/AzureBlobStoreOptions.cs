// The options of a blob store in Azure Blob Storage.
using Atelier.Configuration;
using Azure;
using Azure.Identity;
using Azure.Storage.Blobs;

namespace Atelier.Silo.Blobs;

/// <summary>
/// The blob store in Azure Blob Storage, used if <see cref="Connection"/> or <see cref="Endpoint"/> is set.
/// </summary>
[Section("Blobs")]
public sealed class AzureBlobStoreOptions
{
    /// <summary>Gets or sets the connection string of Azure Blob Storage.</summary>
    /// <value>The default is none: blobs are stored in a folder.</value>
    [Key("Blobs:Azure"), ClusterWide]
    public string? Connection { get; set; }

    /// <summary>
    /// Gets or sets the URL of the account's blob service, for access without a key by the workload identity of the
    /// silo's pod.
    /// </summary>
    /// <remarks>The identity needs the role Storage Blob Data Contributor.</remarks>
    /// <value>The default is none.</value>
    [Key("Blobs:Endpoint"), ClusterWide]
    public string? Endpoint { get; set; }

    /// <summary>Gets or sets the container in Azure Blob Storage, which is created if it does not exist.</summary>
    /// <value>The default is "atelier".</value>
    [ClusterWide]
    public string Container { get; set; } = "atelier";

    /// <summary>Gets or sets the maximum number of retries of a call to Azure that fails temporarily.</summary>
    /// <value>The default is 5.</value>
    [Bounds(0, 100)]
    public int RetriesMax { get; set; } = 5;

    /// <summary>Gets or sets how long one attempt of a call to Azure may take.</summary>
    /// <remarks>
    /// It must be long enough to upload one block, which has 8 MiB, or more if the blob exceeds 390 GiB.
    /// </remarks>
    /// <value>The default is 30 seconds.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan TryTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether the store is used.</summary>
    internal bool IsUsed => Connection is not null || Endpoint is not null;

    /// <summary>A client of the container, which is created if it does not exist.</summary>
    /// <exception cref="IOException">
    /// The account refuses this process, or does not answer; the message says what would be right.
    /// </exception>
    internal BlobContainerClient Open(BlobClientOptions client)
    {
        BlobServiceClient account = Endpoint is { } endpoint
            ? new BlobServiceClient(new Uri(endpoint), new WorkloadIdentityCredential(), client)
            : new BlobServiceClient(Connection, client);
        BlobContainerClient container = account.GetBlobContainerClient(Container);
        try
        {
            container.CreateIfNotExists();
            return container;
        }
        catch (Exception error) when (error
            is RequestFailedException or AggregateException or AuthenticationFailedException)
        {
            throw new IOException(Refusal(account.Uri, error), error);
        }
    }

    // The account's address has no key: one that a shared access signature is part of is shown without it.
    private string Refusal(Uri address, Exception error)
    {
        string account = address.GetLeftPart(UriPartial.Path);
        bool isIdentity = Endpoint is not null;
        string key = OptionKey.PathOf<AzureBlobStoreOptions>(isIdentity ? nameof(Endpoint) : nameof(Connection));
        string reason = error.Message.Split('\n')[0].Trim();
        return error is RequestFailedException { Status: 401 or 403 } refused
            ? $"{key}: the account {account} refuses this process ({refused.Status} {refused.ErrorCode}). "
                + (isIdentity
                    ? "Its workload identity must have the role Storage Blob Data Contributor"
                    : "It must be a connection string with a valid key, or with a shared access signature that may "
                        + "read, write, delete, list and create")
                + ", and the account's firewall must admit it."
            : $"{key}: the account {account} cannot be used: {reason}";
    }
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
                + "to upload, and then every attempt times out.";
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

        if (options.Endpoint is { } endpoint
            && !(Uri.TryCreate(endpoint, UriKind.Absolute, out Uri? url) && url.Scheme == Uri.UriSchemeHttps))
        {
            yield return $"{Key(nameof(options.Endpoint))} is {endpoint}; it must be an https URL, such as "
                + "https://ACCOUNT.blob.core.windows.net.";
        }

        if (options is { Connection: not null, Endpoint: not null })
        {
            yield return $"{Key(nameof(options.Connection))} and {Key(nameof(options.Endpoint))} must not both be set: "
                + "the first has a key of the account, the second is for a workload identity.";
        }

        if (!IsContainerName(options.Container))
        {
            yield return $"{Key(nameof(options.Container))} is {options.Container}; it must be 3 to 63 lower-case "
                + "letters, digits and single hyphens between them.";
        }
    }

    // Creates a client, which parses the string and makes no calls.
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
