namespace Atelier.Silo.Blobs;

/// <summary>What can be set about a store in Azure Blob Storage.</summary>
public sealed class AzureBlobStoreOptions
{
    /// <summary>Gets or sets the connection string of the account.</summary>
    public required string Connection { get; set; }

    /// <summary>Gets or sets the container, which is created if there is none.</summary>
    public required string Container { get; set; }

    /// <summary>Gets or sets how often a call is retried if the service fails temporarily.</summary>
    /// <value>The default is 5.</value>
    public int RetriesMax { get; set; } = 5;

    /// <summary>Gets or sets how long one try of a call may take.</summary>
    /// <remarks>It must be long enough for one block, 8 MiB unless a blob has more than 390 GiB.</remarks>
    /// <value>The default is 30 seconds.</value>
    public TimeSpan TryTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>What is wrong with these options, as a sentence; null if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when string.IsNullOrWhiteSpace(Connection) => $"{nameof(Connection)} must be a connection string.",
        _ when !IsContainerName(Container) =>
            $"{nameof(Container)} must have 3 to 63 lower-case letters, digits and single '-' between them, not be "
            + $"'{Container}'.",
        { RetriesMax: < 0 or > 100 } => $"{nameof(RetriesMax)} must be 0 to 100, not {RetriesMax}.",
        _ when TryTimeout <= TimeSpan.Zero => $"{nameof(TryTimeout)} must be positive.",
        _ => null,
    };

    private static bool IsContainerName(string? name) =>
        name is { Length: >= 3 and <= 63 }
            && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-')
        && name[0] != '-' && name[^1] != '-' && !name.Contains("--", StringComparison.Ordinal);
}
