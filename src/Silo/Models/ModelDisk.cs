// A silo's folder for published models: complete ones, named by digest, and those that are being fetched or published.
using Atelier.ServiceDefaults;
using Microsoft.Extensions.Options;

namespace Atelier.Silo.Models;

/// <summary>The folder of one silo, accessible to its user alone.</summary>
internal sealed class ModelDisk
{
    private const string Unfinished = ".part";

    private readonly Lazy<string> _folder;

    /// <summary>Creates the folder at its first use, and removes what an earlier process left unfinished.</summary>
    public ModelDisk(IOptions<ModelCacheOptions> options, ILocalSiloDetails silo)
    {
        BytesMax = options.Value.BytesMax;
        _folder = new Lazy<string>(() =>
        {
            string folder = Path.GetFullPath(Path.Combine(options.Value.Folder, silo.Name));
            PrivateFiles.MakeFolder(folder);
            foreach (string left in Directory.EnumerateDirectories(folder, "*" + Unfinished))
            {
                Directory.Delete(left, recursive: true);
            }

            return folder;
        });
    }

    /// <summary>Space for published models, in bytes.</summary>
    public long BytesMax { get; }

    /// <summary>The folders of complete models.</summary>
    /// <exception cref="IOException">The folder cannot be created or read.</exception>
    public IEnumerable<string> Complete() => Directory.EnumerateDirectories(_folder.Value)
        .Where(folder => !folder.EndsWith(Unfinished, StringComparison.Ordinal));

    /// <summary>The folder of a complete model; it need not exist.</summary>
    public string PathOf(string name) => Path.Combine(_folder.Value, name);

    /// <summary>Creates an empty folder that is removed by the next process, unless it is renamed or removed.</summary>
    /// <exception cref="IOException">The folder cannot be created.</exception>
    public string CreateUnfinished() =>
        Directory.CreateDirectory(PathOf($"{Guid.NewGuid():N}{Unfinished}")).FullName;
}
