// The processes of a cluster on this machine, and their settings. Settings are passed as environment variables, because
// command lines are visible to every user of the machine.
using System.Runtime.InteropServices;

namespace Atelier.Cli.Cluster;

/// <summary>The settings of a cluster's processes.</summary>
internal sealed record ClusterPlan
{
    /// <summary>Maximum number of silos on one machine.</summary>
    public const int SilosMax = 16;

    /// <summary>The gateway's default port.</summary>
    public const int StandardPort = 8080;

    private const int FirstHttpPort = 8081;
    private const int FirstSiloPort = 11111;
    private const int FirstProxyPort = 30000;
    private const int FirstMetricsPort = 9464;

    /// <summary>The data folder.</summary>
    public required ClusterFolder Folder { get; init; }

    /// <summary>Secrets and ports.</summary>
    public required ClusterFile File { get; init; }

    /// <summary>Model folders, the default one first.</summary>
    public required IReadOnlyList<string> Models { get; init; }

    /// <summary>libtorch threads of each silo's device.</summary>
    public required int Threads { get; init; }

    /// <summary>Pictures that each silo denoises in a batch; null for the silo's default.</summary>
    public int? Slots { get; init; }

    /// <summary>Assigns ports to all processes, reusing those of earlier runs if they are free.</summary>
    /// <param name="file">The file of earlier runs.</param>
    /// <param name="port">The gateway's port; null for any.</param>
    /// <param name="silos">Number of silos.</param>
    /// <exception cref="UserErrorException">The given port is not free.</exception>
    public static ClusterFile WithPorts(ClusterFile file, int? port, int silos)
    {
        var ports = new FreePorts();
        if (port is { } named && !ports.TryTake(named))
        {
            throw new UserErrorException(
                $"--port is {named}, but another program is using it; choose a free one, or omit the option.");
        }

        return file with
        {
            Port = port ?? ports.Take(file.Port, StandardPort),
            MetricsPort = ports.Take(file.MetricsPort, FirstMetricsPort),
            Silos =
            [
                .. Enumerable.Range(0, silos).Select(
                    i => i < file.Silos.Length ? file.Silos[i] : new SiloPorts(0, 0, 0))
                    .Select(earlier => new SiloPorts(
                        ports.Take(earlier.Port, FirstSiloPort), ports.Take(earlier.ProxyPort, FirstProxyPort),
                        ports.Take(earlier.HttpPort, FirstHttpPort),
                        ports.Take(earlier.MetricsPort, FirstMetricsPort))),
            ],
        };
    }

    /// <summary>The silos, which share the store's folder.</summary>
    public IReadOnlyList<ChildProgram> Silos() => [.. File.Silos.Select(Silo)];

    /// <summary>The gateway.</summary>
    public ChildProgram Gateway()
    {
        var settings = new Dictionary<string, string?>
        {
            ["Gateway__Address"] = "127.0.0.1",
            ["Gateway__Port"] = $"{File.Port}",
            ["Gateway__AdminKey"] = File.AdminKey,
            ["Store__Redis"] = null,
        };
        for (int i = 0; i < File.Silos.Length; i++)
        {
            settings[$"Cluster__Silos__{i}"] = $"127.0.0.1:{File.Silos[i].ProxyPort}";
        }

        return Program("gateway", "Gateway", File.MetricsPort, settings);
    }

    private ChildProgram Silo(SiloPorts ports, int index)
    {
        var settings = new Dictionary<string, string?>
        {
            ["Silo__Name"] = $"silo-{index + 1}",
            ["Silo__Address"] = "127.0.0.1",
            ["Silo__Roles"] = "control,inference,training",
            ["Silo__Port"] = $"{ports.Port}",
            ["Silo__ProxyPort"] = $"{ports.ProxyPort}",
            ["Silo__HttpPort"] = $"{ports.HttpPort}",
            ["Blobs__Folder"] = Folder.Blobs,
            ["ModelCache__Folder"] = Folder.Models,
            ["Device__Threads"] = $"{Threads}",
            ["Store__Redis"] = null,
            ["Store__Folder"] = Folder.Store,
            ["TrainingData__CacheFolder"] = Folder.TrainingData,
        };
        if (Slots is { } slots)
        {
            settings["Device__Slots"] = $"{slots}";
        }

        for (int i = 0; i < Models.Count; i++)
        {
            settings[$"Models__Folders__{i}"] = Path.GetFullPath(Models[i]);
        }

        return Program($"silo-{index + 1}", "Silo", ports.MetricsPort, settings);
    }

    private ChildProgram Program(string name, string project, int metricsPort, Dictionary<string, string?> settings)
    {
        settings["Metrics__Address"] = "127.0.0.1";
        settings["Metrics__Port"] = $"{metricsPort}";
        settings["Cluster__Secret"] = File.Secret;
        settings["Supervisor__Stdin"] = "true";
        // Container images set these variables. They are removed here, so that the ports above apply.
        settings["ASPNETCORE_URLS"] = settings["ASPNETCORE_HTTP_PORTS"] = null;
        return new ChildProgram(name, DotnetHost(), [FindProgram(project)], settings)
        {
            Live = new Uri($"http://127.0.0.1:{metricsPort}/health/live"),
        };
    }

    // Programs of one build are in neighboring folders: bin/Cli/release, bin/Silo/release, bin/Gateway/release.
    private static string FindProgram(string project)
    {
        string here = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory), file = $"Atelier.{project}.dll";
        string path = Path.GetFullPath(Path.Combine(here, "..", "..", project, Path.GetFileName(here), file));
        return System.IO.File.Exists(path)
            ? path
            : throw new UserErrorException(
                $"{path} is missing: use the atelier script, which builds it.");
    }

    // The dotnet host of this program, which need not be on the PATH.
    private static string DotnetHost() =>
        Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", "dotnet"));
}
