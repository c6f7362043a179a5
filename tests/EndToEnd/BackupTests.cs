// Goal: a cluster that is restored elsewhere from its backup has its tenants, sessions and pictures, and finishes the
// work that was open with the bytes of an undisturbed run. Method: the commands of docs/operations.md, on a cluster
// whose worker was stopped while it drew. The restored cluster has other ports and another secret, and the folders of
// the first are gone.
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")] // One after the other, so that they do not disturb each other.
public sealed class BackupTests
{
    private const int Steps = 12;
    private const int Open = 3;

    private static readonly string[] s_prompts = ["a red square", "blue", "the red the blue"];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ARestoredCluster_HasWhatWasThere_AndFinishesWhatWasOpen(bool embedded)
    {
        string backup = Directory.CreateTempSubdirectory("atelier-backup").FullName;
        await using var restored = new TestCluster(silos: 1, embedded);
        byte[] before;
        string key;
        await using (var cluster = new TestCluster(silos: 1, embedded, evaluationMilliseconds: 60))
        {
            await cluster.StartAsync();
            using HttpClient client = await cluster.TenantAsync();
            key = client.DefaultRequestHeaders.Authorization!.Parameter!;
            await Pictures.SubmitAsync(client, "before", s_prompts[0], 0, 2);
            await Pictures.EndAsync(client, "before");
            before = await Pictures.FetchAsync(client, "before");
            using HttpResponseMessage session = await client.PostAsJsonAsync(
                "/v1/sessions", new { id = "talk" }, TestContext.Current.CancellationToken);
            session.EnsureSuccessStatusCode();
            using HttpResponseMessage turn = await client.PostAsJsonAsync(
                "/v1/sessions/talk/generations", NewGeneration(0), TestContext.Current.CancellationToken);
            turn.EnsureSuccessStatusCode();
            for (int i = 1; i < Open; i++)
            {
                await Pictures.SubmitAsync(client, $"open{i}", s_prompts[i], (ulong)i, Steps);
            }

            var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            int step = 0;
            Task watch = Pictures.WatchAsync(client, "open0", null, e =>
            {
                step = e.Data["step"]!.GetValue<int>();
                if (step >= 3)
                {
                    begun.TrySetResult();
                }

                return true;
            });
            await begun.Task.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
            await BackUpAsync(cluster, backup);
            await watch.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
            Assert.InRange(step, 3, Steps - 1);
        }

        await RestoreAsync(restored, backup);
        Directory.Delete(backup, recursive: true);
        await restored.StartAsync();
        using HttpClient again = restored.Client(key);
        Assert.Equal(before, await Pictures.FetchAsync(again, "before"));
        var history = await again.GetFromJsonAsync<JsonObject>(
            "/v1/sessions/talk/generations", TestContext.Current.CancellationToken);
        Assert.Equal("open0", Assert.Single(history!["items"]!.AsArray())!["id"]!.GetValue<string>());
        for (int i = 0; i < Open; i++)
        {
            await Pictures.SubmitAsync(again, $"undisturbed{i}", s_prompts[i], (ulong)i, Steps);
        }

        for (int i = 0; i < Open; i++)
        {
            JsonObject end = await Pictures.EndAsync(again, $"open{i}");
            Assert.True(end["phase"]!.GetValue<string>() == "done", $"{end}\n{restored.Logs()}");
            await Pictures.EndAsync(again, $"undisturbed{i}");
            Assert.Equal(
                await Pictures.FetchAsync(again, $"undisturbed{i}"), await Pictures.FetchAsync(again, $"open{i}"));
        }
    }

    // The silo is stopped first, so that no snapshot is replaced; then the store is copied, then the blobs.
    private static async Task BackUpAsync(TestCluster cluster, string backup)
    {
        Assert.Equal(0, await cluster.Silos[0].StopAsync());
        if (cluster.Redis.IsRunning)
        {
            await ShellAsync($"redis-cli -p {cluster.RedisPort} --rdb {backup}/store.rdb");
        }
        else
        {
            await ShellAsync($"cp -a {cluster.StoreFolder} {backup}/store");
        }

        await ShellAsync($"cp -a {cluster.BlobFolder} {backup}/blobs");
    }

    private static async Task RestoreAsync(TestCluster cluster, string backup)
    {
        await ShellAsync($"cp -a {backup}/blobs {cluster.BlobFolder}");
        if (Directory.Exists($"{backup}/store"))
        {
            await ShellAsync($"cp -a {backup}/store {cluster.StoreFolder}");
            return;
        }

        // A Redis that runs empty, as a new installation has it, reads its files at its next start.
        await cluster.StartRedisAsync();
        string manifest = "file appendonly.aof.1.base.rdb seq 1 type b";
        await ShellAsync(
            $"cd {cluster.RedisFolder}/appendonlydir && rm -f * && cat > appendonly.aof.1.base.rdb "
            + $"&& echo '{manifest}' > appendonly.aof.manifest", $"{backup}/store.rdb");
        await cluster.Redis.StopAsync();
        await cluster.StartRedisAsync();

        // What the append-only file has gained is there after another start, as the restored file is.
        await ShellAsync($"redis-cli -p {cluster.RedisPort} set restored yes");
        await cluster.Redis.KillAsync();
        await cluster.StartRedisAsync();
        string size = await ShellAsync($"redis-cli -p {cluster.RedisPort} dbsize");
        Assert.True(int.Parse(size, CultureInfo.InvariantCulture) > Open, size);
    }

    private static object NewGeneration(int i) =>
        new { id = $"open{i}", prompt = s_prompts[i], seed = i, steps = Steps, guidance = 3.0, previews = 0 };

    // Runs a command, with a file as its input if one is named, and returns its output.
    private static async Task<string> ShellAsync(string command, string input = "/dev/null")
    {
        using Process shell = Process.Start(new ProcessStartInfo("sh", ["-c", $"({command}) < {input}"])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        })!;
        Task<string> error = shell.StandardError.ReadToEndAsync();
        string output = await shell.StandardOutput.ReadToEndAsync();
        await shell.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(1));
        Assert.True(shell.ExitCode == 0, $"{command}: {await error}");
        return output;
    }
}
