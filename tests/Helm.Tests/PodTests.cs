// Goal: pods comply with the restricted standard, their settings are those that silos and gateways read, and a drain
// fits into the grace period. Method: the pods of every set, and the keys of docs/configuration.md.
using System.Globalization;
using System.Text.RegularExpressions;
using k8s.Models;
using Xunit;

namespace Atelier.Helm.Tests;

public sealed partial class PodTests(Renderer renderer)
{
    // The key of the command that draws a picture; docs/configuration.md has those of silos and gateways.
    private const string CheckKey = "Check:AdminKey";

    // Ports of containers, by the keys that set them.
    private static readonly Dictionary<string, string> s_ports = new(StringComparer.Ordinal)
    {
        ["Silo:Port"] = "silo", ["Silo:ProxyPort"] = "proxy", ["Silo:HttpPort"] = "http", ["Metrics:Port"] = "metrics",
        ["Scaler:Port"] = "scaler", ["TrainerPeers:Port"] = "trainers", ["Gateway:Port"] = "http",
    };

    private static readonly ILookup<string, string> s_keys = ReadKeys();

    public static TheoryData<string> Sets => [.. Repository.Sets];

    [Theory]
    [MemberData(nameof(Sets))]
    public void Pods_AreRestricted(string set)
    {
        Assert.True(renderer[set].Pods.Length >= 4);
        Assert.All(renderer[set].Pods, pod =>
        {
            V1PodSpec spec = pod.Spec;
            Assert.False(spec.AutomountServiceAccountToken);
            Assert.True(spec.SecurityContext.RunAsNonRoot);
            Assert.True(spec.SecurityContext.RunAsUser > 0);
            Assert.Equal("RuntimeDefault", spec.SecurityContext.SeccompProfile.Type);
            Assert.NotEqual(true, spec.HostNetwork);
            Assert.NotEqual(true, spec.HostPID);
            Assert.NotEqual(true, spec.HostIPC);
            Assert.All(spec.Volumes, volume => Assert.Null(volume.HostPath));
            Assert.All(pod.Containers, container =>
            {
                Assert.False(container.SecurityContext.AllowPrivilegeEscalation);
                Assert.True(container.SecurityContext.ReadOnlyRootFilesystem);
                Assert.NotEqual(true, container.SecurityContext.Privileged);
                Assert.Equal(["ALL"], container.SecurityContext.Capabilities.Drop);
                Assert.Null(container.SecurityContext.Capabilities.Add);
                Assert.All(container.Ports ?? [], port => Assert.Null(port.HostPort));
            });
        });
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void OwnContainers_RunTheirImagesAsTheirUser(string set) => Assert.All(
        renderer[set].Pods.Where(pod => pod.Component != "redis"), pod =>
        {
            Assert.Equal(10001, pod.Spec.SecurityContext.RunAsUser);
            Assert.Equal(10001, pod.Spec.SecurityContext.RunAsGroup);
            Assert.All(pod.Containers, container => Assert.Null(container.Command));
        });

    [Theory]
    [MemberData(nameof(Sets))]
    public void Variables_AreSettingsOfTheirProcess(string set) => Assert.All(
        renderer[set].Pods.Where(pod => pod.Component != "redis"),
        pod => Assert.All(pod.Containers.SelectMany(container => container.Env), variable =>
        {
            if (variable.Name is "REDIS_PASSWORD" || variable.Name.StartsWith("OTEL_", StringComparison.Ordinal))
            {
                return;
            }

            string key = Element().Replace(variable.Name.Replace("__", ":", StringComparison.Ordinal), "");
            Assert.True(
                pod.Component == "test" ? key == CheckKey : s_keys[key].Contains(pod.Component)
                    || key.StartsWith("Logging:", StringComparison.Ordinal),
                $"{key} is not a setting of a {pod.Component}");
        }));

    // Sets without further settings.
    [Theory]
    [InlineData("smallest")]
    [InlineData("gateway-api")]
    [InlineData("gpu-spot")]
    public void SettingsThatTheChartMakes_AreRefusedAsFurtherSettings(string set)
    {
        string[] refused =
        [
            .. OwnKey().Matches(File.ReadAllText(Path.Combine(Repository.Chart, "templates/_validation.tpl")))
                .Select(match => match.Groups["key"].Value),
        ];
        Assert.All(
            Processes(set).SelectMany(process => process.Container.Env).Select(variable => variable.Name)
                .Where(name => name.Contains("__", StringComparison.Ordinal)
                    && !name.StartsWith("Models__Folders__", StringComparison.Ordinal)),
            name => Assert.Contains(name.Replace("__", ":", StringComparison.Ordinal), refused));
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void NoVariable_IsSetTwice(string set) => Assert.All(
        renderer[set].Pods.SelectMany(pod => pod.Containers),
        container => Assert.Equal(
            (container.Env ?? []).Select(variable => variable.Name).Distinct(),
            (container.Env ?? []).Select(variable => variable.Name)));

    [Theory]
    [MemberData(nameof(Sets))]
    public void References_BetweenVariablesAreToEarlierOnes(string set) => Assert.All(
        renderer[set].Pods.SelectMany(pod => pod.Containers), container =>
        {
            var earlier = new HashSet<string>(StringComparer.Ordinal);
            foreach (V1EnvVar variable in container.Env ?? [])
            {
                Assert.All(
                    Reference().Matches(variable.Value ?? ""),
                    reference => Assert.Contains(reference.Groups["name"].Value, earlier));
                earlier.Add(variable.Name);
            }

            Assert.All(
                (container.Args ?? []).SelectMany(argument => Reference().Matches(argument)),
                reference => Assert.Contains(reference.Groups["name"].Value, earlier));
        });

    [Theory]
    [MemberData(nameof(Sets))]
    public void Ports_AreThoseOfTheSettings(string set) => Assert.All(Processes(set), process =>
    {
        foreach ((string key, string port) in s_ports)
        {
            if (Setting(process.Container, key) is { } value)
            {
                Assert.Equal(
                    int.Parse(value, CultureInfo.InvariantCulture),
                    Assert.Single(process.Container.Ports, one => one.Name == port).ContainerPort);
            }
        }

        Assert.Equal(
            process.Container.Ports.Count,
            s_ports.Keys.Count(key => Setting(process.Container, key) is not null));
    });

    [Theory]
    [MemberData(nameof(Sets))]
    public void Probes_AskThreeQuestionsAtAPortThatExists(string set) => Assert.All(Processes(set), process =>
    {
        V1Container container = process.Container;
        Assert.Equal("/health/started", container.StartupProbe.HttpGet.Path);
        Assert.Equal("/health/ready", container.ReadinessProbe.HttpGet.Path);
        Assert.Equal("/health/live", container.LivenessProbe.HttpGet.Path);
        Assert.All(
            [container.StartupProbe, container.ReadinessProbe, container.LivenessProbe],
            probe => Assert.Contains(container.Ports, port => port.Name == probe.HttpGet.Port.Value));
    });

    [Theory]
    [MemberData(nameof(Sets))]
    public void AShutdown_FitsIntoTheGracePeriod(string set) => Assert.All(Processes(set), process =>
    {
        string key = process.Pod.Component == "gateway" ? "Gateway:ShutdownTimeout" : "Silo:ShutdownTimeout";
        var shutdown = TimeSpan.Parse(Setting(process.Container, key)!, CultureInfo.InvariantCulture);
        double preStop = process.Container.Lifecycle?.PreStop.Sleep.Seconds ?? 0;
        Assert.InRange(
            process.Pod.Spec.TerminationGracePeriodSeconds!.Value, preStop + shutdown.TotalSeconds + 1,
            double.MaxValue);
        foreach (string part in new[] { "Worker:DrainTimeout", "Trainer:LeaveTimeout" })
        {
            if (Setting(process.Container, part) is { } time)
            {
                Assert.InRange(TimeSpan.Parse(time, CultureInfo.InvariantCulture), TimeSpan.Zero, shutdown);
            }
        }
    });

    [Theory]
    [MemberData(nameof(Sets))]
    public void WrittenFolders_AreVolumes(string set) => Assert.All(Processes(set), process =>
    {
        string[] writable =
        [
            .. process.Container.VolumeMounts.Where(mount => mount.ReadOnlyProperty != true)
                .Select(mount => mount.MountPath),
        ];
        string?[] written =
        [
            "/tmp", .. new[] { "Blobs:Folder", "ModelCache:Folder", "TrainingData:CacheFolder" }
                .Select(key => Setting(process.Container, key)),
        ];
        Assert.All(written.OfType<string>(), folder => Assert.Contains(
            writable, path => folder == path || folder.StartsWith(path + "/", StringComparison.Ordinal)));
        Assert.All(
            process.Container.Env.Where(
                variable => variable.Name.StartsWith("Models__Folders__", StringComparison.Ordinal)),
            variable => Assert.Contains(process.Container.VolumeMounts, mount => mount.MountPath == variable.Value));
    });

    [Fact]
    public void Caches_FitIntoTheirVolume()
    {
        Pod pod = Assert.Single(renderer["cpu-demo"].Pods, pod => pod.Owner == "demo-atelier-cpu");
        V1Container silo = Assert.Single(pod.Spec.Containers);
        int megabytes = new[] { "ModelCache:Megabytes", "TrainingData:CacheMegabytes" }
            .Sum(key => int.Parse(Setting(silo, key)!, CultureInfo.InvariantCulture));
        V1Volume data = Assert.Single(pod.Spec.Volumes, volume => volume.Name == "data");
        Assert.InRange(megabytes, 1024, (int)(data.EmptyDir.SizeLimit.ToDecimal() / 1024 / 1024));
    }

    // Redis would be killed at its limit, again and again while it reads its file.
    [Fact]
    public void Redis_RefusesWrites_BeforeItIsKilled()
    {
        V1Container redis = Assert.Single(
            Assert.Single(renderer["smallest"].Pods, pod => pod.Component == "redis").Spec.Containers);
        string maximum = redis.Args[redis.Args.IndexOf("--maxmemory") + 1];
        Assert.EndsWith("mb", maximum, StringComparison.Ordinal);
        Assert.InRange(
            int.Parse(maximum[..^2], CultureInfo.InvariantCulture), 512,
            (int)(redis.Resources.Limits["memory"].ToDecimal() / 1024 / 1024 * 3 / 4));
    }

    [Fact]
    public void PoolsWithDevices_HaveNoSurge_AndAskForTheirDevice()
    {
        V1Deployment train = Assert.Single(
            renderer["gpu-spot"].All<V1Deployment>(), one => one.Name() == "demo-atelier-train-spot");
        Assert.Equal("0", train.Spec.Strategy.RollingUpdate.MaxSurge.Value);
        Assert.Null(train.Spec.Replicas);
        V1PodSpec pod = train.Spec.Template.Spec;
        Assert.Equal("1", Assert.Single(pod.Containers).Resources.Limits["nvidia.com/gpu"].ToString());
        Assert.EndsWith("-training", pod.PriorityClassName, StringComparison.Ordinal);
        Assert.Equal(2, pod.Tolerations.Count);
        Assert.Equal("azure", Setting(pod.Containers[0], "Preemption:Provider"));
    }

    [Fact]
    public void WorkloadIdentity_IsThatOfTheSilos()
    {
        Rendering rendering = renderer["production"];
        V1ServiceAccount account = Assert.Single(rendering.All<V1ServiceAccount>());
        Assert.True(account.Metadata.Annotations.ContainsKey("azure.workload.identity/client-id"));
        Assert.All(rendering.Pods, pod => Assert.Equal(
            pod.Component == "silo", pod.Labels.ContainsKey("azure.workload.identity/use")));
        Assert.All(
            rendering.Pods.Where(pod => pod.Component == "silo"),
            pod => Assert.Equal(account.Name(), pod.Spec.ServiceAccountName));
    }

    // Silos and gateways, without init containers.
    private IEnumerable<(Pod Pod, V1Container Container)> Processes(string set) =>
        renderer[set].Pods.Where(pod => pod.Component is "silo" or "gateway")
            .Select(pod => (pod, Assert.Single(pod.Spec.Containers)));

    private static string? Setting(V1Container container, string key) => container.Env.SingleOrDefault(
        variable => variable.Name == key.Replace(":", "__", StringComparison.Ordinal))?.Value;

    // Keys of docs/configuration.md with the components that read them.
    private static ILookup<string, string> ReadKeys()
    {
        MatchCollection rows = KeyRow().Matches(File.ReadAllText(Repository.InRoot("docs/configuration.md")));
        Assert.True(rows.Count > 80, $"only {rows.Count} keys are found");
        return rows.SelectMany(
                row => row.Groups["of"].Value.Split(", "), (row, of) => (Key: row.Groups["key"].Value, Of: of))
            .ToLookup(one => one.Key, one => one.Of, StringComparer.Ordinal);
    }

    [GeneratedRegex(@"^- \*\*`(?<key>[\w:]+)`\*\*(?: \*\*C\*\*)? \((?<of>[\w, ]+)\)", RegexOptions.Multiline)]
    private static partial Regex KeyRow();

    [GeneratedRegex(@"^(?<key>[A-Z]\w+(?::[A-Z]\w+)+): ", RegexOptions.Multiline)]
    private static partial Regex OwnKey();

    [GeneratedRegex(@":\d+$")]
    private static partial Regex Element();

    [GeneratedRegex(@"\$\((?<name>\w+)\)")]
    private static partial Regex Reference();
}
