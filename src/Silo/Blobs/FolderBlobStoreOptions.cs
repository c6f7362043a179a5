// The options of a blob store in a folder.
using Atelier.Configuration;

namespace Atelier.Silo.Blobs;

/// <summary>The blob store in a folder, used without an Azure account.</summary>
[Section("Blobs")]
public sealed class FolderBlobStoreOptions
{
    /// <summary>
    /// Gets or sets the folder of pictures and other blobs, used without an Azure account. It is created if it does not
    /// exist.
    /// </summary>
    /// <remarks>All silos of the cluster must reach the same folder.</remarks>
    /// <value>The default is "atelier-data/blobs".</value>
    public string Folder { get; set; } = "atelier-data/blobs";

    /// <summary>Gets or sets the age above which an unfinished file is deleted when a silo starts.</summary>
    /// <remarks>It must exceed the time that any write takes, because another silo may be writing the file.</remarks>
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
                + "file of another silo's write if that takes longer, and the write fails.";
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
