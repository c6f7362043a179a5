// A running cluster on this machine: its processes are started in order, kept alive, and stopped in order.
using System.Net;
using System.Text.Json.Nodes;
using Atelier.Contracts.Tenants;

namespace Atelier.Cli.Cluster;

/// <summary>Runs a cluster until it is asked to stop.</summary>
internal sealed class ClusterUp(
    ClusterPlan plan, SupervisionSettings supervision, TimeProvider clock, Action<string> say)
{
    /// <summary>The name of this machine's tenant.</summary>
    public const string Tenant = "local";

    private const int WrongConfiguration = 2; // Exit code of a process with an invalid configuration.
    private const int DeathsMax = 5;

    private static readonly TimeSpan s_startPatience = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(200);

    private readonly List<SupervisedChild> _children = [];

    /// <summary>Starts the cluster, reports when it is ready, and stops it on request.</summary>
    /// <param name="ready">Called once the cluster is ready, with the file that holds the tenant's key.</param>
    /// <param name="stop">Stops the cluster.</param>
    /// <exception cref="UserErrorException">The cluster does not become ready.</exception>
    public async Task RunAsync(Action<ClusterFile> ready, CancellationToken stop)
    {
        Directory.CreateDirectory(plan.Folder.Logs);
        try
        {
            await StartAsync(ready, stop);
            await Task.Delay(Timeout.InfiniteTimeSpan, clock, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The regular way to stop.
        }
        finally
        {
            await StopAsync();
            foreach (SupervisedChild child in _children)
            {
                await child.DisposeAsync();
            }
        }
    }

    /// <summary>Kills all processes immediately.</summary>
    public void Kill()
    {
        foreach (SupervisedChild child in _children.ToArray())
        {
            child.Kill();
        }
    }

    private async Task StartAsync(Action<ClusterFile> ready, CancellationToken stop)
    {
        IReadOnlyList<ChildProgram> silos = plan.Silos();
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };

        // The first silo creates or upgrades the store before the others start.
        Start(silos[0]);
        await WaitAsync(http, plan.File.Silos[0].HttpPort, "/health/live", stop);
        foreach (ChildProgram silo in silos.Skip(1))
        {
            Start(silo);
        }

        Start(plan.Gateway());
        await WaitAsync(http, plan.File.Port, "/health/ready", stop);
        ready(await WithKeyAsync(stop));
    }

    private void Start(ChildProgram program)
    {
        say($"starting {program.Name}");
        _children.Add(new SupervisedChild(program, supervision, plan.Folder.Logs, clock, say));
    }

    private async Task WaitAsync(HttpClient http, int port, string path, CancellationToken stop)
    {
        long start = clock.GetTimestamp();
        while (!await IsUpAsync(http, new Uri($"http://127.0.0.1:{port}{path}"), stop))
        {
            foreach (SupervisedChild child in _children)
            {
                if (child.LastDeath is { } death && (death.ExitCode == WrongConfiguration || death.Count >= DeathsMax))
                {
                    throw new UserErrorException(
                        $"{child.Name} does not start; its output is above and in {plan.Folder.Logs}.");
                }
            }

            if (clock.GetElapsedTime(start) > s_startPatience)
            {
                throw new UserErrorException(
                    $"The cluster was not ready within {s_startPatience.TotalMinutes:0} minutes; its output is in "
                    + $"{plan.Folder.Logs}.");
            }

            await Task.Delay(s_poll, clock, stop);
        }
    }

    private static async Task<bool> IsUpAsync(HttpClient http, Uri url, CancellationToken stop)
    {
        try
        {
            using HttpResponseMessage answer = await http.GetAsync(url, stop);
            return answer.IsSuccessStatusCode;
        }
        catch (Exception error) when (
            error is HttpRequestException || (error is OperationCanceledException && !stop.IsCancellationRequested))
        {
            return false;
        }
    }

    // The tenant's key is created once and shown at every start. Storing it adds no risk, because the file also holds
    // the administrator's key, which grants more.
    private async Task<ClusterFile> WithKeyAsync(CancellationToken stop)
    {
        using var admin = new ClusterClient(new Uri(plan.File.Url!), plan.File.AdminKey, clock);
        string path = $"/v1/admin/tenants/{Tenant}";
        JsonNode tenant = await admin.RetryAsync(async () => await FindAsync(admin, path, stop)
            ?? (await admin.CallAsync(
                HttpMethod.Put, path, new JsonObject { ["may_train"] = true }, stop))!, stop, mayBeDown: true);
        if (plan.File.Key is { } key
            && tenant["keys"]!.AsArray().Any(one => one!["hash"]!.GetValue<string>() == ApiKey.HashOf(key)))
        {
            return plan.File;
        }

        JsonNode made = (await admin.RetryAsync(
            () => admin.CallAsync(HttpMethod.Post, $"{path}/keys", new JsonObject { ["label"] = "up" }, stop), stop,
            mayBeDown: true))!;
        ClusterFile file = plan.File with { Key = made["key"]!.GetValue<string>() };
        file.Write(plan.Folder.Path);
        return file;
    }

    private static async Task<JsonNode?> FindAsync(ClusterClient admin, string path, CancellationToken stop)
    {
        try
        {
            return await admin.CallAsync(HttpMethod.Get, path, null, stop);
        }
        catch (ApiRefusalException refusal) when (refusal.Status == HttpStatusCode.NotFound)
        {
            return null;
        }
    }

    // The gateway stops first, so that nothing new arrives; then the silos release their work.
    private async Task StopAsync()
    {
        SupervisedChild[] gateways = [.. _children.Where(child => child.Name == "gateway")];
        SupervisedChild[] silos = [.. _children.Except(gateways)];
        await StopAsync(gateways, "");
        await StopAsync([.. silos.Skip(1)], ", which release their work");
        await StopAsync([.. silos.Take(1)], ", which releases its work");
    }

    private async Task StopAsync(SupervisedChild[] children, string what)
    {
        if (children.Length > 0)
        {
            say(
                $"stopping {string.Join(", ", children.Select(child => child.Name))}{what}: at most "
                + $"{supervision.Grace.TotalSeconds:0.#} s");
            await Task.WhenAll(children.Select(child => child.StopAsync()));
        }
    }
}
