// cluster.json: secrets and ports of a cluster on this machine, kept between runs. Only the user who runs the cluster
// can read the file. It is written through a temporary file, so it is never incomplete.
using System.Security.Cryptography;
using System.Text.Json;
using Atelier.Model;

namespace Atelier.Cli.Cluster;

/// <summary>The ports of a silo.</summary>
/// <param name="Port">Port for other silos.</param>
/// <param name="ProxyPort">Port for gateways as Orleans clients.</param>
/// <param name="HttpPort">Port of its HTTP API.</param>
/// <param name="MetricsPort">Port of its metrics and health checks; 0 until one is assigned.</param>
internal sealed record SiloPorts(int Port, int ProxyPort, int HttpPort, int MetricsPort = 0);

/// <summary>Secrets and ports of a cluster on this machine.</summary>
internal sealed record ClusterFile
{
    /// <summary>Name of the file in the data folder.</summary>
    public const string FileName = "cluster.json";

    private const int KnownFormat = 1;
    private const int SecretBytes = 32;
    private const int BytesMax = 1 << 20;

    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        RespectRequiredConstructorParameters = true,
    };

    /// <summary>Version of the format.</summary>
    public int Format { get; init; } = KnownFormat;

    /// <summary>The secret shared by silos and gateway.</summary>
    public required string Secret { get; init; }

    /// <summary>The administrator's key.</summary>
    public required string AdminKey { get; init; }

    /// <summary>The key of this machine's tenant; null until it is created.</summary>
    public string? Key { get; init; }

    /// <summary>The gateway's port; 0 until one is assigned.</summary>
    public int Port { get; init; }

    /// <summary>Port of the gateway's metrics and health checks; 0 until one is assigned.</summary>
    public int MetricsPort { get; init; }

    /// <summary>The silos' ports.</summary>
    public SiloPorts[] Silos { get; init; } = [];

    /// <summary>URL of the gateway; null until it has a port.</summary>
    public string? Url => Port == 0 ? null : $"http://127.0.0.1:{Port}";

    /// <summary>Creates a file with new secrets.</summary>
    public static ClusterFile New() => new()
    {
        Secret = Convert.ToBase64String(RandomNumberGenerator.GetBytes(SecretBytes)),
        AdminKey = "atladmin_" + System.Buffers.Text.Base64Url.EncodeToString(
            RandomNumberGenerator.GetBytes(SecretBytes)),
    };

    /// <summary>Reads a data folder's file; null if there is none.</summary>
    /// <exception cref="UserErrorException">The file is damaged.</exception>
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
                throw Damaged(path, "it is too long");
            }

            return JsonSerializer.Deserialize<ClusterFile>(File.ReadAllBytes(path), s_json) switch
            {
                null => throw Damaged(path, "it is empty"),
                { Format: not KnownFormat } other =>
                    throw Damaged(path, $"its format is {other.Format}, but only {KnownFormat} is supported"),
                { } file when file.Fault() is { } fault => throw Damaged(path, fault),
                { } file => file,
            };
        }
        catch (JsonException error)
        {
            throw Damaged(path, $"line {error.LineNumber + 1} is not valid JSON of this format");
        }
        catch (UnauthorizedAccessException error)
        {
            throw new UserErrorException($"{path} cannot be read: {error.Message}");
        }
    }

    /// <summary>Writes the file into a data folder.</summary>
    public void Write(string folder)
    {
        WholeFile.Write(
            Path.Combine(folder, FileName),
            file =>
            {
                JsonSerializer.Serialize(file, this, s_json);
                file.Flush(flushToDisk: true);
            },
            UnixFileMode.UserRead | UnixFileMode.UserWrite);
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
            || count != SecretBytes ? "its secret is not valid"
            : AdminKey is not { Length: >= SecretBytes } ? "its adminKey is not valid"
            : Silos is null ? "its silos are missing"
            : ports.Any(port => port is < 0 or > ushort.MaxValue) ? "one of its ports is not valid"
            : null;
    }

    private static UserErrorException Damaged(string path, string why) => new(
        $"{path} is damaged: {why}. Delete it, and atelier up creates a new file and a new key; tenants, sessions "
        + "and pictures are kept.");
}
