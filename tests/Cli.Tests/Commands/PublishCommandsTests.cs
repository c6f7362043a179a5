// Goal: runs publish waits until the model is published, naming the checkpoint from the first answer on, and models
// unpublish names its model in a path. Method: a stub server, found through a data folder.
using System.Collections.Concurrent;
using Atelier.Cli.Cluster;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Cli.Tests.Commands;

public sealed class PublishCommandsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly ConcurrentQueue<string> _calls = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Publish_RepeatsTheRequest_UntilTheModelIsPublished()
    {
        await using StubCluster cluster = await StartAsync();
        ProgramRun run = await RunAsync(
            "runs", "publish", "toy", "--name", "a/b", "--model", "base", "--json", "p.json");
        Assert.Equal("a/b: run toy, stage 1, step 40, digest 0123456789abcdef\n", run.Succeeded().Output);
        const string Call = "POST /v1/training/runs/toy/publish ";
        Assert.Equal(
            [
                Call + """{"name":"a/b","model":"base","stage":null,"step":null}""",
                Call + """{"name":"a/b","model":"base","stage":1,"step":40}""",
            ],
            _calls);
        Assert.Equal(40, _folder.Json("p.json").GetProperty("step").GetInt32());

        _calls.Clear();
        await RunAsync("runs", "publish", "toy", "--name", "x", "--stage", "0", "--step", "8");
        Assert.Equal([Call + """{"name":"x","model":null,"stage":0,"step":8}"""], _calls.Take(1));
    }

    [Fact]
    public async Task Unpublish_NamesTheModelInAPath()
    {
        await using StubCluster cluster = await StartAsync();
        (await RunAsync("models", "unpublish", "a/b c")).Succeeded();
        Assert.Equal(["DELETE /v1/models/a%2Fb%20c "], _calls);
    }

    private Task<ProgramRun> RunAsync(params string[] arguments) =>
        AtelierProgram.RunAsync(_folder.Path, [.. arguments, "--data", "data"]);

    private async Task<StubCluster> StartAsync()
    {
        int asked = 0;
        StubCluster cluster = await StubCluster.StartAsync(app =>
        {
            app.MapPost("/v1/training/runs/{id}/publish", async (HttpContext context) =>
            {
                await NoteAsync(context);
                return ++asked == 1
                    ? Results.Json(new { name = "a/b", status = "publishing", stage = 1, step = 40 }, statusCode: 202)
                    : Results.Json(new
                    {
                        name = "a/b", status = "published", stage = 1, step = 40,
                        digest = "0123456789abcdef" + new string('0', 48),
                    });
            });
            app.MapDelete("/v1/models/{**id}", async (HttpContext context) =>
            {
                await NoteAsync(context);
                return Results.NoContent();
            });
        });
        (ClusterFile.New() with { Port = new Uri(cluster.Url).Port }).Write(
            Directory.CreateDirectory(_folder["data"]).FullName);
        return cluster;
    }

    private async Task NoteAsync(HttpContext context)
    {
        using var reader = new StreamReader(context.Request.Body);
        string target = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        _calls.Enqueue(
            $"{context.Request.Method} {target} {await reader.ReadToEndAsync(context.RequestAborted)}");
    }
}
