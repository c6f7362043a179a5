// Goal: atelier status and tenants print what the cluster answers, and send what the command line says. Method: a stub
// server with the administrator's routes, found through a data folder.
using System.Collections.Concurrent;
using Atelier.Cli.Cluster;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Runs the program against a stub.</summary>
public sealed class AdminCommandsTests : IDisposable
{
    private const string Status =
        """
        {
          "silos": [{"name": "silo-1", "address": "http://127.0.0.1:8081"}],
          "workers": [{"name": "silo-1/cpu", "device_kind": "AVX-512/2", "roles": ["encode", "denoise"], "slots": 8,
            "held": 3, "model": "aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899", "draining": false}],
          "queues": []
        }
        """;

    private const string Tenant =
        """
        {"id": "alice", "weight": 2, "requests_per_minute": 600, "open_generations": 1000,
         "evaluations_per_day": 10000000,
         "keys": [{"label": "laptop", "hash": "abc", "created_at": "2026-01-02T03:04:05+00:00"}],
         "open": 7, "evaluations_today": 123}
        """;

    private readonly TemporaryFolder _folder = new();
    private readonly ConcurrentQueue<string> _calls = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Status_ShowsSilosWorkersAndQueues()
    {
        await using StubCluster cluster = await StartAsync();
        ProgramRun run = await RunAsync("status", "--json", "s.json");
        Assert.Equal(
            [
                $"The cluster at {cluster.Url}", "silos: name  address", "silo-1       http://127.0.0.1:8081",
                "workers: name  device kind  roles            slots  held  model         draining",
                "silo-1/cpu     AVX-512/2    encode, denoise      8     3  aabbccddeeff  no", "No queues.",
            ],
            run.Succeeded().Lines);
        Assert.Equal(8, _folder.Json("s.json").GetProperty("workers")[0].GetProperty("slots").GetInt32());
        Assert.Equal([$"Bearer {File().AdminKey}"], cluster.Keys.Keys);
    }

    [Fact]
    public async Task Tenants_AreListed_InAllParts()
    {
        await using StubCluster cluster = await StartAsync();
        ProgramRun run = await RunAsync("tenants", "list");
        Assert.Equal(3, run.Succeeded().Lines.Length);
        Assert.Equal("tenant  weight  requests/min  open   max  evaluations today       max  keys", run.Lines[0]);
        Assert.Equal("alice        2           600     7  1000                123  10000000     1", run.Lines[1]);
        Assert.Equal(["GET /v1/admin/tenants?after= ", "GET /v1/admin/tenants?after=alice "], _calls);
    }

    [Theory]
    [InlineData("put alice", "PUT /v1/admin/tenants/alice {}", "alice")]
    [InlineData(
        "put alice --weight 2.5 --requests-per-minute 0 --open-generations 5 --evaluations-per-day 9000000000 "
        + "--sessions 7 --stored-megabytes 8",
        """PUT /v1/admin/tenants/alice {"weight":2.5,"requests_per_minute":0,"open_generations":5"""
        + ""","evaluations_per_day":9000000000,"sessions":7,"stored_megabytes":8}""",
        "alice")]
    [InlineData("close alice", "DELETE /v1/admin/tenants/alice ", "")]
    [InlineData("keys list alice", "GET /v1/admin/tenants/alice ", "laptop")]
    [InlineData(
        "keys add alice --label laptop", """POST /v1/admin/tenants/alice/keys {"label":"laptop"}""", "atl_alice_new")]
    public async Task CommandsToTheCluster_AreSent(string command, string call, string shown)
    {
        await using StubCluster cluster = await StartAsync();
        ProgramRun run = await RunAsync(["tenants", .. command.Split(' ')]);
        Assert.Contains(shown, run.Succeeded().Output);
        Assert.Equal([call], _calls);
    }

    [Fact]
    public async Task AKey_IsRevokedByItself_OrByItsHash()
    {
        await using StubCluster cluster = await StartAsync();
        string key = ApiKey.New(new TenantId("alice")), hash = ApiKey.HashOf(key);
        (await RunAsync("tenants", "keys", "revoke", "alice", key)).Succeeded();
        (await RunAsync("tenants", "keys", "revoke", "alice", hash)).Succeeded();
        string call = $"DELETE /v1/admin/tenants/alice/keys/{hash} ";
        Assert.Equal([call, call], _calls);
        (await RunAsync("tenants", "keys", "revoke", "alice", "laptop")).FailedSaying(
            "KEY is neither a key nor a hash");
    }

    [Fact]
    public async Task ANewKey_IsAloneOnStandardOutput()
    {
        await using StubCluster cluster = await StartAsync();
        ProgramRun run = await RunAsync("tenants", "keys", "add", "alice");
        Assert.Equal("atl_alice_new\n", run.Succeeded().Output);
        Assert.Contains("it will not be shown again", run.Error);
    }

    [Fact]
    public async Task TheClustersRefusal_IsPrinted()
    {
        await using StubCluster cluster = await StartAsync();
        (await RunAsync("tenants", "close", "nobody")).FailedSaying("There is no such tenant.");
        (await RunAsync("tenants", "close", "../status")).FailedSaying(
            "TENANT is \"../status\"; a name must be 1 to 64 letters");
    }

    [Fact]
    public async Task Sweep_ListsBlobs_AndRemovesThemOnlyOnRequest()
    {
        await using StubCluster cluster = await StartAsync();
        ProgramRun run = await RunAsync("blobs", "sweep", "--json", "s.json");
        Assert.Equal("unneeded  snapshots/t/aa  12 bytes\n", run.Succeeded().Output);
        Assert.Contains("1 blobs, 12 bytes, are not needed by any owner.", run.Error);
        Assert.Contains("This was a dry run", run.Error);
        Assert.Equal(99, _folder.Json("s.json").GetProperty("totals").GetProperty("listed").GetProperty("bytes")
            .GetInt32());
        run = await RunAsync("blobs", "sweep", "--remove", "--grace-hours", "30");
        Assert.Equal("removed  snapshots/t/aa  12 bytes\n", run.Succeeded().Output);
        Assert.Equal(
            ["""{"dry_run":true,"grace_hours":24}""", """{"dry_run":false,"grace_hours":30}"""], _calls);
        (await RunAsync("blobs", "sweep", "--grace-hours", "7")).FailedSaying("The sweep was interrupted");
        (await RunAsync("blobs", "sweep", "--grace-hours", "0")).FailedSaying("it must be a whole number from 1");
    }

    [Fact]
    public async Task NoCluster_IsReported_WithAdvice()
    {
        (await RunAsync("status")).FailedSaying("There is no cluster in data: start one with atelier up");
        (await RunAsync("status", "--cluster", "http://127.0.0.1:1")).FailedSaying("--key ADMINKEY is missing");
        (ClusterFile.New() with { Port = 1 }).Write(Directory.CreateDirectory(_folder["data"]).FullName);
        (await RunAsync("status")).FailedSaying("No cluster answers at http://127.0.0.1:1/");
        (await RunAsync("status", "--cluster", "http://127.0.0.1:2")).FailedSaying("--key ADMINKEY is missing");
    }

    private async Task<StubCluster> StartAsync()
    {
        StubCluster cluster = await StubCluster.StartAsync(app =>
        {
            app.MapGet("/v1/admin/status", () => Results.Text(Status, "application/json"));
            app.Map("/v1/admin/tenants/{**rest}", (Delegate)AnswerAsync);
            app.MapPost("/v1/admin/blobs/sweep", (Delegate)SweepAsync);
        });
        (ClusterFile.New() with { Port = new Uri(cluster.Url).Port }).Write(
            Directory.CreateDirectory(_folder["data"]).FullName);
        return cluster;
    }

    private async Task<IResult> SweepAsync(HttpContext context)
    {
        using var reader = new StreamReader(context.Request.Body);
        string body = await reader.ReadToEndAsync(context.RequestAborted);
        _calls.Enqueue(body);
        string removed = body.Contains("false", StringComparison.Ordinal) ? "true" : "false";
        string events =
            $$"""
            : keep-alive

            event: blob
            data: {"name":"snapshots/t/aa","bytes":12,"owners":["g"],"removed":{{removed}}}


            """;
        const string Done =
            """
            event: done
            data: {"listed":{"blobs":5,"bytes":99},"unneeded":{"blobs":1,"bytes":12},"removed":{"blobs":0,"bytes":0}}


            """;
        bool breaks = body.Contains(":7}", StringComparison.Ordinal);
        return Results.Text(breaks ? ": keep-alive\n\n" : events + Done, "text/event-stream");
    }

    private async Task<IResult> AnswerAsync(HttpContext context)
    {
        using var reader = new StreamReader(context.Request.Body);
        string path = context.Request.Path + context.Request.QueryString.Value;
        _calls.Enqueue($"{context.Request.Method} {path} {await reader.ReadToEndAsync(context.RequestAborted)}");
        return (context.Request.Method, path) switch
        {
            (_, "/v1/admin/tenants/nobody") =>
                Results.Json(new { error = new { message = "There is no such tenant." } }, statusCode: 404),
            ("GET", "/v1/admin/tenants?after=") => Text($$"""{"items": [{{Tenant}}], "next": "alice"}"""),
            ("GET", "/v1/admin/tenants?after=alice") => Text($$"""{"items": [{{Tenant}}], "next": null}"""),
            ("POST", _) => Text($$"""{"key": "atl_alice_new", "label": "key", "hash": "abc"}"""),
            ("DELETE", _) => Results.NoContent(),
            _ => Text(Tenant),
        };

        static IResult Text(string json) => Results.Text(json, "application/json");
    }

    private ClusterFile File() => ClusterFile.Read(_folder["data"])!;

    private Task<ProgramRun> RunAsync(params string[] args) =>
        AtelierProgram.RunAsync(_folder.Path, [.. args, "--data", "data"]);
}
