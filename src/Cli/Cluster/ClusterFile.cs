// cluster.json: what a cluster on this machine keeps between its runs. It holds secrets, so it is its user's alone; it
// is written aside and renamed, so it is there whole or not at all.
using System.Security.Cryptography;
using System.Text.Json;

namespace Atelier.Cli.Cluster;

/// <summary>The ports of a silo.</summary>
/// <param name="Port">Where silos talk.</param>
/// <param name="ProxyPort">Where gateways talk to the cluster.</param>
/// <param name="HttpPort">Where its HTTP API listens.</param>
/// <param name="MetricsPort">Where its metrics and health are read; 0 until it has one.</param>
internal sealed record SiloPorts(int Port, int ProxyPort, int HttpPort, int MetricsPort = 0);

/// <summary>Secrets and ports of a cluster on this machine.</summary>
internal sealed record ClusterFile
{
    /// <summary>Its name in the data folder.</summary>
    public const string FileName = "cluster.json";

    private const int KnownFormat = 1;
    private const int SecretBytes = 32;
    private const int BytesMax = 1 << 20;

    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        RespectRequiredConstructorParameters = true,
    };

    /// <summary>How to read it.</summary>
    public int Format { get; init; } = KnownFormat;

    /// <summary>The secret that silos and gateway share.</summary>
    public required string Secret { get; init; }

    /// <summary>The administrator's key.</summary>
    public required string AdminKey { get; init; }

    /// <summary>The key of the tenant that works on this machine, once there is one.</summary>
    public string? Key { get; init; }

    /// <summary>The gateway's port; 0 until it has one.</summary>
    public int Port { get; init; }

    /// <summary>Where the gateway's metrics and health are read; 0 until it has a port for them.</summary>
    public int MetricsPort { get; init; }

    /// <summary>The silos' ports.</summary>
    public SiloPorts[] Silos { get; init; } = [];

    /// <summary>Where the gateway listens, once it has a port.</summary>
    public string? Url => Port == 0 ? null : $"http://127.0.0.1:{Port}";

    /// <summary>New secrets.</summary>
    public static ClusterFile New() => new()
    {
        Secret = Convert.ToBase64String(RandomNumberGenerator.GetBytes(SecretBytes)),
        AdminKey = "atladmin_" + System.Buffers.Text.Base64Url.EncodeToString(
            RandomNumberGenerator.GetBytes(SecretBytes)),
    };

    /// <summary>Reads a data folder's file; none if there is none.</summary>
    /// <exception cref="UserErrorException">It is damaged.</exception>
    public static ClusterFile? Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            if (!File.Exists(path))
            {
                return null;
            }

            if (new FileInfo(path).Length > BytesMax)
            {
                throw Damaged(path, "it is far too long");
            }

            return JsonSerializer.Deserialize<ClusterFile>(File.ReadAllBytes(path), s_json) switch
            {
                null => throw Damaged(path, "it is empty"),
                { Format: not KnownFormat } other =>
                    throw Damaged(path, $"its format is {other.Format}, and only {KnownFormat} is known"),
                { } file when file.Fault() is { } fault => throw Damaged(path, fault),
                { } file => file,
            };
        }
        catch (JsonException error)
        {
            throw Damaged(path, $"line {error.LineNumber + 1} is no JSON of its kind");
        }
        catch (UnauthorizedAccessException error)
        {
            throw new UserErrorException($"{path} cannot be read: {error.Message}");
        }
    }

    /// <summary>Writes it into a data folder.</summary>
    public void Write(string folder)
    {
        string path = Path.Combine(folder, FileName), aside = path + ".part";
        File.Delete(aside);
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        using (var file = new FileStream(aside, options))
        {
            JsonSerializer.Serialize(file, this, s_json);
            file.Flush(flushToDisk: true);
        }

        File.Move(aside, path, overwrite: true);
    }

    private string? Fault()
    {
        Span<byte> bytes = stackalloc byte[SecretBytes];
        IEnumerable<int> ports =
        [
            Port, MetricsPort,
            .. (Silos ?? []).SelectMany(silo => new[] { silo.Port, silo.ProxyPort, silo.HttpPort, silo.MetricsPort }),
        ];
        return !Convert.TryFromBase64String(Secret ?? "", bytes, out int count)
            || count != SecretBytes ? "its secret is none"
            : AdminKey is not { Length: >= SecretBytes } ? "its adminKey is none"
            : Silos is null ? "its silos are none"
            : ports.Any(port => port is < 0 or > ushort.MaxValue) ? "one of its ports is none"
            : null;
    }

    private static UserErrorException Damaged(string path, string why) => new(
        $"{path} is damaged: {why}. Delete it, and a new one is made: tenants, sessions and pictures stay, and up "
        + "makes "
        + "itself a new key.");
}
