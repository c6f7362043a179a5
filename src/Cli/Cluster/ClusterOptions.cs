// Options that select a cluster and a key, shared by the commands that call a cluster.
using System.CommandLine;

namespace Atelier.Cli.Cluster;

/// <summary>The options for the cluster that a command administers.</summary>
internal sealed class ClusterOptions
{
    private readonly Option<string> _url = new("--cluster")
    {
        HelpName = "URL", Description = "The cluster's gateway; by default that of the cluster on this machine.",
    };

    private readonly Option<string> _key = new("--key")
    {
        HelpName = "ADMINKEY", Description = "The administrator's key; by default that of the cluster on this machine.",
    };

    private readonly Option<DirectoryInfo> _data = Data();

    /// <summary>The data folder of the cluster on this machine.</summary>
    public static Option<DirectoryInfo> Data() => Choices.Path<DirectoryInfo>(
        "--data", "Data folder of the cluster on this machine; by default atelier in XDG_DATA_HOME or ~/.local/share.");

    /// <summary>The given folder, or the default one.</summary>
    public static string FolderOf(ParseResult parsed, Option<DirectoryInfo> data) =>
        parsed.GetValue(data)?.ToString() ?? ClusterFolder.Default;

    /// <summary>Adds the options to a command.</summary>
    public Command AddTo(Command command)
    {
        command.Add(_url);
        command.Add(_key);
        command.Add(_data);
        return command;
    }

    /// <summary>Creates a client with the administrator's key.</summary>
    /// <exception cref="UserErrorException">The cluster or the key is unknown.</exception>
    public ClusterClient Connect(ParseResult parsed)
    {
        string folder = FolderOf(parsed, _data);
        ClusterFile? file = ClusterFile.Read(folder);
        string url = parsed.GetValue(_url) ?? file?.Url ?? throw new UserErrorException(
            $"There is no cluster in {folder}: start one with atelier up, or give --cluster and --key.");
        string key =
            parsed.GetValue(_key) ?? (url.TrimEnd('/') == file?.Url ? file.AdminKey : throw new UserErrorException(
                $"--key ADMINKEY is missing: the administrator's key of {url} is not in {folder}."));
        return new ClusterClient(
            ClusterClient.ParseUrl("--cluster", url), ClusterClient.CheckKey("--key", key), TimeProvider.System);
    }
}
