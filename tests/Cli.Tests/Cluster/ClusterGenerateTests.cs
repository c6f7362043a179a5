// Goal: atelier generate --cluster gets its picture despite any failure on the way, loses no event, sends nothing
// twice, and reports what the cluster says. Method: a stub server that breaks connections on request.
using System.Diagnostics;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;

namespace Atelier.Cli.Tests.Cluster;

/// <summary>Runs the program, and its client, against a stub.</summary>
public sealed class ClusterGenerateTests : IDisposable
{
    private const string Key = "atl_local_key";
    private static readonly ClientPatience s_fast = new()
    {
        Silence = TimeSpan.FromSeconds(0.3), Outage = TimeSpan.FromSeconds(0.5),
        PauseMin = TimeSpan.FromMilliseconds(1),
        PauseMax = TimeSpan.FromMilliseconds(5),
    };

    private readonly TemporaryFolder _folder = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task APicture_IsThatOfTheCluster_AndTheRequestIsThatOfTheCommand()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        ProgramRun run = await RunAsync(
            cluster, "-o", "a.png", "--seed", "18446744073709551615", "--steps", "4", "--guidance", "2.5", "--negative",
            "blue",
            "--model", "shapes", "--size", "64x64");
        run.Succeeded();
        Assert.Equal(StubCluster.Picture, await File.ReadAllBytesAsync(_folder["a.png"], Cancellation));
        JsonObject body = Assert.Single(cluster.Submitted);
        string id = body["id"]!.GetValue<string>();
        Assert.True(Contracts.Names.AreValid(id));
        Assert.Equal(
            $$"""{"id":"{{id}}","prompt":"a cat","negative_prompt":"blue","seed":18446744073709551615"""
                + ""","size":"64x64","model":"shapes","steps":4,"guidance":2.5}""",
            body.ToJsonString());
        Assert.Equal([$"Bearer {Key}"], cluster.Keys.Keys);
        Assert.Contains("drawing: waiting, 3 ahead in the queue, about 8 s", run.Error);
        Assert.Contains("drawing: step 1 of 4", run.Error);
        Assert.Contains("a.png", run.Error);
    }

    [Fact]
    public async Task APromptThatTheClusterCuts_IsReportedOnStandardError()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        cluster.Tokens = JsonNode.Parse("""{"given":90,"used":75,"cut_at":"a \"whale\""}""");
        ProgramRun run = await RunAsync(cluster, "-o", "a.png", "-n", "2");
        run.Succeeded();
        string warning =
            "warning: The prompt is too long: it has 90 tokens, and the text encoder uses 75. The text from "
            + "\"a \"whale\"\" on has no effect.";
        Assert.Equal(2, run.Error.Split(warning).Length);
        Assert.DoesNotContain("negative", run.Error);
    }

    [Fact]
    public async Task Variables_NameTheCluster_AndStandardOutputGetsThePngAlone()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        var environment = new Dictionary<string, string> { ["ATELIER_CLUSTER"] = cluster.Url, ["ATELIER_KEY"] = Key };
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, environment, "generate", "a cat", "-o", "-");
        Assert.Equal(StubCluster.Picture, run.Succeeded().Bytes);
        JsonObject body = Assert.Single(cluster.Submitted);
        Assert.False(body.ContainsKey("model") || body.ContainsKey("steps") || body.ContainsKey("guidance"));
        Assert.Equal(0ul, body["seed"]!.GetValue<ulong>());
    }

    [Fact]
    public async Task SeveralPictures_HaveTheFollowingSeeds()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        (await RunAsync(cluster, "-o", "a.png", "-n", "3", "--seed", "5")).Succeeded();
        Assert.Equal(["a-1.png", "a-2.png", "a-3.png"], _folder.Content);
        Assert.Equal([5ul, 6ul, 7ul], cluster.Submitted.Select(body => body["seed"]!.GetValue<ulong>()).Order());
        Assert.Equal(3, cluster.Submitted.Select(body => body["id"]!.GetValue<string>()).Distinct().Count());
    }

    [Fact]
    public async Task AStreamThatBreaks_ResumesAfterTheLastEvent()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        cluster.Streams.Enqueue((4, "id: 3.9\ndata: {\"phase\":\"denoi"));
        cluster.Streams.Enqueue((0, "abort"));
        cluster.Streams.Enqueue((3, ""));
        (await RunAsync(cluster, "-o", "a.png")).Succeeded();
        Assert.Equal(["", "3.1", "3.1", "3.4"], cluster.LastEventIds);
        Assert.Single(cluster.Submitted);
    }

    [Theory]
    [InlineData("abort")]
    [InlineData("silence")]
    [InlineData("")]
    [InlineData("event: error\ndata: {\"error\":{\"message\":\"a silo went away\"}}\n\n")]
    [InlineData("id: 3.9\ndata: {\"phase\":\"denoising\"")]
    [InlineData("id: nonsense\ndata: {\"phase\":\"done\"}\n\nid: 6.0\ndata: 17\n\n")]
    public async Task Events_ComeOnceEach_HoweverStreamsEnd(string ending)
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        for (int i = 0; i < cluster.Events.Count; i++)
        {
            cluster.Streams.Enqueue((i % 3, ending));
        }

        using var client = new ClusterClient(new Uri(cluster.Url), Key, TimeProvider.System)
        {
            Patience = s_fast with { Outage = TimeSpan.FromMinutes(1) },
        };
        List<string> seen = await client.WatchAsync("x", Cancellation).Select(one => one.Number.ToString()).ToListAsync(
            Cancellation);
        Assert.Equal(cluster.Events.Select(one => one.Number), seen);
    }

    [Fact]
    public async Task ASubmission_WhoseAnswerIsLost_IsSentAgainWithTheSameId()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        cluster.Faults.Enqueue((0, ""));
        cluster.Faults.Enqueue((503, """{"error":{"message":"not now"}}"""));
        cluster.Faults.Enqueue((502, "<html>"));
        (await RunAsync(cluster, "-o", "a.png")).Succeeded();
        Assert.Equal(2, cluster.Submitted.Count);
        Assert.Single(cluster.Submitted.Select(body => body.ToJsonString()).Distinct());
    }

    [Theory]
    [InlineData(
        400,
        """{"error":{"message":"'size' must be 64x64.","type":"invalid_request_error","param":"size","code":"x"}}""",
        "'size' must be 64x64.")]
    [InlineData(401, """{"error":{"message":"This key is none."}}""", "This key is none.")]
    [InlineData(
        429, """{"error":{"message":"Too many requests; come back in 3 s."}}""",
        "Too many requests; come back in 3 s.")]
    [InlineData(404, "nothing here", "answers 404 without a message")]
    public async Task TheClustersRefusal_IsPrinted(int status, string body, string sentence)
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        cluster.Faults.Enqueue((status, body));
        ProgramRun run = await RunAsync(cluster, "-o", "a.png");
        run.FailedSaying(sentence);
        Assert.Empty(_folder.Content);
    }

    [Theory]
    [InlineData(
        """{"phase":"failed","error":{"code":"worker_lost","message":"Every worker that drew it died."}}""",
        "The generation failed: Every worker that drew it died.")]
    [InlineData("""{"phase":"cancelled"}""", "The generation was cancelled.")]
    public async Task AGenerationThatEndsWithoutAPicture_IsAnError(string last, string sentence)
    {
        await using StubCluster cluster = await StubCluster.StartAsync(
            events: [("0.0", """{"phase":"queued_encode"}"""), ("6.0", last)]);
        ProgramRun run = await RunAsync(cluster, "-o", "a.png");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains($"atelier: {sentence}\n", run.Error);
        Assert.Empty(_folder.Content);
        Assert.Empty(cluster.Cancelled);
    }

    [Fact]
    public async Task CtrlC_CancelsTheGeneration()
    {
        await using StubCluster cluster = await StubCluster.StartAsync();
        cluster.Streams.Enqueue((4, "silence"));
        using Process process = AtelierProgram.Start(
            _folder.Path, "generate", "a cat", "-o", "a.png", "--cluster", cluster.Url, "--key", Key);
        while (await process.StandardError.ReadLineAsync(Cancellation) is { } line && line != "drawing: step 1 of 4")
        {
            // Wait for this first.
        }

        Signals.Send(process.Id, Signals.Terminate);
        await process.WaitForExitAsync(Cancellation);
        Assert.Equal(130, process.ExitCode);
        Assert.Equal([cluster.Submitted.Single()["id"]!.GetValue<string>()], cluster.Cancelled);
        Assert.Empty(_folder.Content);
    }

    [Fact]
    public async Task AClusterThatStaysAway_IsGivenUp()
    {
        StubCluster cluster = await StubCluster.StartAsync();
        cluster.Streams.Enqueue((4, "silence"));
        using var client = new ClusterClient(new Uri(cluster.Url), Key, TimeProvider.System) { Patience = s_fast };
        var error = await Assert.ThrowsAsync<UserErrorException>(async () =>
        {
            await foreach (ClusterEvent one in client.WatchAsync("x", Cancellation))
            {
                if (one.Step == 1)
                {
                    await cluster.DisposeAsync();
                }
            }
        });
        Assert.Contains("has been unavailable for 0.5 s", error.Message);
    }

    [Fact]
    public async Task NoCluster_IsReportedAtOnce()
    {
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "generate", "a cat", "-o", "a.png", "--cluster", "http://127.0.0.1:1", "--key", Key);
        run.FailedSaying("No cluster answers at http://127.0.0.1:1/");
    }

    [Theory]
    [InlineData("--key KEY is missing", "--cluster", "http://127.0.0.1:1")]
    [InlineData("--cluster is \"here\"; it must be a URL", "--cluster", "here", "--key", "k")]
    [InlineData("--cluster is \"ftp://here\"; it must be a URL", "--cluster", "ftp://here", "--key", "k")]
    [InlineData("--key is not a valid key", "--cluster", "http://127.0.0.1:1", "--key", "two words")]
    [InlineData(
        "--churn applies only to pictures drawn on this machine",
        "--cluster", "http://127.0.0.1:1", "--key", "k", "--churn", "3")]
    [InlineData(
        "--noise applies only to pictures drawn on this machine",
        "--cluster", "http://127.0.0.1:1", "--key", "k", "--noise",
        "seeded")]
    public async Task WrongOptions_AreRefused(string sentence, params string[] options)
    {
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, ["generate", "a cat", "-o", "a.png", .. options]);
        run.FailedSaying(sentence);
    }

    private Task<ProgramRun> RunAsync(StubCluster cluster, params string[] options) => AtelierProgram.RunAsync(
        _folder.Path, ["generate", "a cat", "--cluster", cluster.Url, "--key", Key, .. options]);
}
