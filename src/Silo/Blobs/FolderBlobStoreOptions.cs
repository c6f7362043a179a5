// The options of a blob store in a folder.
using Atelier.Configuration;

namespace Atelier.Silo.Blobs;

/// <summary>The store in a folder, used without an Azure account.</summary>
[Section("Blobs")]
public sealed class FolderBlobStoreOptions
{
    /// <summary>
    /// Gets or sets the folder of pictures and other blobs, used without an Azure account. It is created if there is
    /// none.
    /// </summary>
    /// <remarks>All silos of the cluster must reach the same folder.</remarks>
    /// <value>The default is "atelier-data/blobs".</value>
    public string Folder { get; set; } = "atelier-data/blobs";

    /// <summary>Gets or sets the age at which a file that was never finished is deleted when a silo starts.</summary>
    /// <remarks>It must exceed the time that any write takes, since another silo may be writing.</remarks>
    /// <value>The default is 1 hour.</value>
    [Bounds("00:00:00", "36500.00:00:00")]
    public TimeSpan LeftoverAge { get; set; } = TimeSpan.FromHours(1);
}

/// <summary>Validates the options of a store in a folder.</summary>
internal sealed class FolderBlobStoreOptionsValidator : OptionsValidator<FolderBlobStoreOptions>
{
    private static readonly TimeSpan s_writeTime = TimeSpan.FromMinutes(10);

    public override IEnumerable<string> Warnings(FolderBlobStoreOptions options)
    {
        if (options.LeftoverAge < s_writeTime)
        {
            yield return $"{Key(nameof(options.LeftoverAge))} is {options.LeftoverAge}: a silo that starts deletes the "
                + "file of another one's write that takes longer, and that write fails.";
        }
    }

    protected override IEnumerable<string> Faults(FolderBlobStoreOptions options)
    {
        if (string.IsNullOrWhiteSpace(options.Folder))
        {
            yield return $"{Key(nameof(options.Folder))} must be the path of a folder.";
        }
    }
}
