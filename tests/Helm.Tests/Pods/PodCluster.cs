// A rendering in operation: its pods run as processes on this machine, each in namespaces of its own, with the
// services, names and controllers that a Kubernetes cluster would have.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using k8s.Models;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

/// <summary>The pods of a rendering.</summary>
internal sealed class PodCluster : IAsyncDisposable
{
    private const string Namespace = "art";

    // A pod that is restarted more often will not become ready.
    private const int RestartsMax = 2;
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(200);

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-pods").FullName;
    private readonly CancellationTokenSource _over = new();
    private readonly PodNetwork _network;
    private readonly Rendering _rendering;
    private readonly Dictionary<string, ServiceProxy> _services = new(StringComparer.Ordinal);
    private readonly HashSet<string> _cordoned = new(StringComparer.Ordinal);
    private readonly ConcurrentBag<RunningPod> _all = [];
    private readonly Lock _names = new();
    private Task _control = Task.CompletedTask;

    private PodCluster(Rendering rendering, PodNetwork network)
    {
        (_rendering, _network) = (rendering, network);
        Source = new PodSource(rendering, _folder);
        Workloads =
        [
            .. rendering.All<V1StatefulSet>().Select(set => new Workload(set, Create)),
            .. rendering.All<V1Deployment>().Select(deployment => new Workload(deployment, Create)),
        ];
    }

    /// <summary>Secrets and volumes.</summary>
    public PodSource Source { get; }

    public IReadOnlyList<Workload> Workloads { get; }

    /// <summary>Names of the nodes.</summary>
    public IReadOnlyList<string> Nodes { get; } = ["node-a", "node-b"];

    /// <summary>Pods that are not yet gone.</summary>
    public IEnumerable<RunningPod> Pods => Workloads.SelectMany(workload => workload.Pods);

    /// <summary>How the deleted pods ended that are gone.</summary>
    public IEnumerable<Termination> Terminations => _all.Select(pod => pod.Termination).OfType<Termination>();

    /// <summary>Names of the objects begin with this.</summary>
    public string Prefix { get; } = "demo-atelier";

    private string Hosts => Path.Combine(_folder, "hosts");

    /// <summary>Prepares a cluster; skips the test if pods cannot run here.</summary>
    public static async Task<PodCluster> CreateAsync(Rendering rendering)
    {
        string? obstacle = await Linux.ObstacleAsync();
        Assert.SkipWhen(obstacle is not null, obstacle ?? "");
        var cluster = new PodCluster(rendering, await PodNetwork.CreateAsync());
        foreach (V1Service service in rendering.All<V1Service>().Where(one => one.Spec.ClusterIP != "None"))
        {
            cluster._services[service.Name()] = new ServiceProxy(
                service, await cluster._network.AddServiceAsync(), () => cluster.Endpoints(service));
        }

        cluster.WriteNames();
        return cluster;
    }

    /// <summary>Starts the controllers, and with them the pods.</summary>
    public void Start() => _control = ControlAsync();

    /// <summary>The workload of a component or pool.</summary>
    public Workload this[string name] => Workloads.Single(workload => workload.Name == $"{Prefix}-{name}");

    /// <summary>Waits until all workloads have the pods that they want.</summary>
    public Task CompleteAsync(int seconds = 120) =>
        UntilAsync("The roll-out", () => Workloads.All(workload => workload.IsComplete), seconds);

    /// <summary>Waits until something holds; fails after a time.</summary>
    public async Task UntilAsync(string what, Func<bool> holds, int seconds = 120)
    {
        using var late = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        while (!holds())
        {
            if (_all.Select(Task (pod) => pod.Ended).Append(_control).FirstOrDefault(one => one.IsFaulted) is { } fault)
            {
                await fault;
            }

            if (late.IsCancellationRequested || Pods.Any(pod => pod.Restarts > RestartsMax))
            {
                string reason = late.IsCancellationRequested ? $"is not complete after {seconds} s" : "fails";
                Assert.Fail($"{what} {reason}.\n{Describe()}");
            }

            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Runs a pod of the rendering to its end, such as one of `helm test`.</summary>
    public async Task<(int ExitCode, string Output)> RunAsync(V1Pod pod)
    {
        RunningPod running = Create(pod.Name(), "", 1, pod.Spec, []);
        _ = running.StartAsync();
        Termination end = await running.Ended.WaitAsync(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken);
        return (end.ExitCode, running.Output);
    }

    /// <summary>Deletes all pods of a node at once. New ones start on other nodes.</summary>
    public void Drain(string node)
    {
        lock (_cordoned)
        {
            _cordoned.Add(node);
        }

        foreach (RunningPod pod in Pods.Where(pod => pod.Node == node))
        {
            _ = pod.DeleteAsync();
        }
    }

    /// <summary>Lets pods start on a node again.</summary>
    public void Uncordon(string node)
    {
        lock (_cordoned)
        {
            _cordoned.Remove(node);
        }
    }

    /// <summary>The URL of a service's port, as its clients in the cluster name it.</summary>
    public Uri UrlOf(string address)
    {
        string[] parts = address.Split(':');
        return new Uri($"http://{_services[parts[0].Split('.')[0]].Address}:{parts[1]}");
    }

    /// <summary>A client of the gateways.</summary>
    public HttpClient Client(string key, HttpMessageHandler? handler = null)
    {
        HttpClient client = handler is null ? new HttpClient() : new HttpClient(handler);
        client.BaseAddress = UrlOf($"{Prefix}-gateway:80");
        client.Timeout = Timeout.InfiniteTimeSpan;
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        return client;
    }

    /// <summary>A client with the administrator's key.</summary>
    public HttpClient Admin() => Client(Source.SecretOf(Prefix, "admin-key"));

    /// <summary>The pods, and the end of what each wrote.</summary>
    public string Describe()
    {
        var text = new StringBuilder();
        foreach (RunningPod pod in _all.Reverse())
        {
            string output = pod.Output;
            text.AppendLine($"--- {pod.Name} at {pod.Address} on {pod.Node}: ready {pod.IsReady}, terminating "
                + $"{pod.IsTerminating}, restarts {pod.Restarts}, {pod.Waiting}");
            text.AppendLine(output.Length > 4000 ? output[^4000..] : output);
        }

        return text.ToString();
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        await _control.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (RunningPod pod in _all)
        {
            _ = pod.DeleteAsync();
            await pod.KillAsync();
        }

        Task ends = Task.WhenAll(_all.Select(pod => pod.Ended));
        await ends.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (RunningPod pod in _all)
        {
            pod.Dispose();
        }

        foreach (ServiceProxy service in _services.Values)
        {
            await service.DisposeAsync();
        }

        await _network.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private async Task ControlAsync()
    {
        while (!_over.IsCancellationRequested)
        {
            foreach (Workload workload in Workloads)
            {
                workload.Reconcile();
            }

            await Task.Delay(s_period, _over.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private RunningPod Create(Workload workload) => Create(
        workload.NextName(), workload.Name, workload.Revision, workload.Template.Spec, workload.Claims);

    private RunningPod Create(string name, string owner, int revision, V1PodSpec spec, string[] claims)
    {
        var node = new PodNode(NodeFor(owner), _network, Source, Hosts, Path.Combine(_folder, "roots"));
        var pod = new RunningPod(name, owner, revision, spec, node) { Claims = claims, Changed = Update };
        _all.Add(pod);
        return pod;
    }

    // The node that has the fewest pods of the workload, and then the fewest pods.
    private string NodeFor(string owner)
    {
        lock (_cordoned)
        {
            List<RunningPod> pods = [.. _all.Where(pod => !pod.IsTerminating && !pod.Ended.IsCompleted)];
            return Nodes.Except(_cordoned).OrderBy(node => pods.Count(pod => pod.Node == node && pod.Owner == owner))
                .ThenBy(node => pods.Count(pod => pod.Node == node)).First();
        }
    }

    private List<RunningPod> Endpoints(V1Service service) =>
    [
        .. _all.Where(pod => pod.IsReady && LabelsOf(pod) is { } labels
            && service.Spec.Selector.All(one => labels.TryGetValue(one.Key, out string? value) && value == one.Value)),
    ];

    private IDictionary<string, string>? LabelsOf(RunningPod pod) =>
        Workloads.SingleOrDefault(workload => workload.Name == pod.Owner)?.Template.Metadata.Labels;

    private void Update()
    {
        foreach (ServiceProxy service in _services.Values)
        {
            _ = service.UpdateAsync();
        }

        WriteNames();
    }

    // All pods have this file mounted, so it is written in place, without a moment in which it is empty.
    private void WriteNames()
    {
        var text = new StringBuilder("127.0.0.1 localhost\n");
        foreach (V1Service service in _rendering.All<V1Service>())
        {
            IEnumerable<IPAddress> addresses = _services.TryGetValue(service.Name(), out ServiceProxy? proxy)
                ? [proxy.Address] : Endpoints(service).Select(pod => pod.Address!);
            foreach (IPAddress address in addresses)
            {
                string name = service.Name();
                text.Append($"{address} {name} {name}.{Namespace} {name}.{Namespace}.svc");
                text.Append($" {name}.{Namespace}.svc.cluster.local\n");
            }
        }

        foreach (RunningPod pod in _all.Where(pod => pod.Address is not null && !pod.Ended.IsCompleted))
        {
            text.Append($"{pod.Address} {pod.Name}\n");
        }

        lock (_names)
        {
            using FileStream file = File.Open(Hosts, FileMode.OpenOrCreate);
            file.Write(Encoding.ASCII.GetBytes(text.ToString()));
            file.SetLength(file.Position);
        }
    }
}
