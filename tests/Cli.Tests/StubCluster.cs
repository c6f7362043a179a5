// A server that implements the part of the cluster's HTTP API that the command line uses, and breaks connections when a
// test says so.
using System.Collections.Concurrent;
using System.Net;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Atelier.Cli.Tests;

/// <summary>A cluster that returns the same picture to everybody.</summary>
internal sealed class StubCluster : IAsyncDisposable
{
    private readonly WebApplication _app;

    private StubCluster()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        _app = builder.Build();
        _app.Use(AnswerAsync);
        _app.MapPost("/v1/generations", SubmitAsync);
        _app.MapGet("/v1/generations/{id}", (string id) => Results.Json(
            new
            {
                id,
                phase = "queued_encode",
                position = 3,
                wait_seconds = 7.5,
                prompt_tokens = Tokens,
                negative_prompt_tokens = (object?)null,
            }));
        _app.MapGet("/v1/generations/{id}/events", EventsAsync);
        _app.MapGet("/v1/generations/{id}/picture", () => Results.Bytes(Picture, "image/png"));
        _app.MapPost("/v1/generations/{id}/cancel", (string id) => Cancelled.Add(id));
    }

    /// <summary>The picture's file.</summary>
    public static byte[] Picture { get; } = [137, 80, 78, 71, 1, 2, 3];

    /// <summary>Events of every generation, by number.</summary>
    public IReadOnlyList<(string Number, string Data)> Events { get; init; } =
    [
        ("0.0", """{"phase":"queued_encode","step":0,"steps":4}"""),
        ("1.0", """{"phase":"encoding","step":0,"steps":4}"""),
        ("2.0", """{"phase":"queued_denoise","step":0,"steps":4}"""),
        ("3.1", """{"phase":"denoising","step":1,"steps":4}"""),
        ("3.2", """{"phase":"denoising","step":2,"steps":4}"""),
        ("3.3", """{"phase":"denoising","step":3,"steps":4}"""),
        ("3.4", """{"phase":"denoising","step":4,"steps":4}"""),
        ("4.0", """{"phase":"queued_decode","step":4,"steps":4}"""),
        ("5.0", """{"phase":"decoding","step":4,"steps":4}"""),
        ("6.0", """{"phase":"done","step":4,"steps":4,"picture":"/v1/generations/x/picture"}"""),
    ];

    /// <summary>
    /// Answers that calls of a route get instead of the real one: a status, or 0 for a broken connection.
    /// </summary>
    public ConcurrentQueue<(int Status, string Body)> Faults { get; } = new();

    /// <summary>How each stream ends, in order; after that, streams are complete.</summary>
    public ConcurrentQueue<(int Events, string Ending)> Streams { get; } = new();

    /// <summary>The reported token counts of the prompt.</summary>
    public JsonNode? Tokens { get; set; }

    /// <summary>Bodies of submissions.</summary>
    public ConcurrentQueue<JsonObject> Submitted { get; } = new();

    /// <summary>Last-Event-ID of each stream.</summary>
    public ConcurrentQueue<string> LastEventIds { get; } = new();

    /// <summary>Keys that callers sent.</summary>
    public ConcurrentDictionary<string, int> Keys { get; } = new();

    /// <summary>Generations that were cancelled.</summary>
    public ConcurrentBag<string> Cancelled { get; } = [];

    /// <summary>The address that it listens on.</summary>
    public string Url { get; private set; } = "";

    public static async Task<StubCluster> StartAsync(
        Action<WebApplication>? map = null, IReadOnlyList<(string Number, string Data)>? events = null)
    {
        StubCluster stub = events is null ? new StubCluster() : new StubCluster { Events = events };
        map?.Invoke(stub._app);
        await stub._app.StartAsync(TestContext.Current.CancellationToken);
        stub.Url =
            stub._app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single(
                );
        return stub;
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private async Task AnswerAsync(HttpContext context, RequestDelegate next)
    {
        Keys.AddOrUpdate(context.Request.Headers.Authorization.ToString(), 1, (_, count) => count + 1);
        if (context.Request.Method != "POST" || !Faults.TryDequeue(out (int Status, string Body) fault))
        {
            await next(context);
            return;
        }

        if (fault.Status == 0)
        {
            await SubmitAsync(context); // The request arrived; only the answer is lost.
            context.Abort();
            return;
        }

        context.Response.StatusCode = fault.Status;
        await context.Response.WriteAsync(fault.Body, context.RequestAborted);
    }

    private async Task SubmitAsync(HttpContext context)
    {
        Submitted.Enqueue(
            (JsonObject)(await JsonNode.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted))!);
        context.Response.StatusCode = StatusCodes.Status202Accepted;
    }

    private async Task EventsAsync(HttpContext context)
    {
        string last = context.Request.Headers["Last-Event-ID"].ToString();
        LastEventIds.Enqueue(last);
        int start = Events.Select(one => one.Number).ToList().IndexOf(last) + 1;
        (int count, string ending) = Streams.TryDequeue(out (int, string) broken) ? broken : (Events.Count, "");
        context.Response.ContentType = "text/event-stream";
        await context.Response.StartAsync(context.RequestAborted);
        foreach ((string number, string data) in Events.Skip(start).Take(count))
        {
            string phase = JsonNode.Parse(data)!["phase"]!.GetValue<string>();
            await context.Response.WriteAsync(
                $"event: {phase}\nid: {number}\ndata: {data}\n\n", context.RequestAborted);
        }

        await context.Response.WriteAsync(": keep-alive\n\n", context.RequestAborted);
        switch (ending)
        {
            case "abort":
                await context.Response.WriteAsync(
                    "event: denoising\nid: 3.9\ndata: {\"phase\":", context.RequestAborted);
                await context.Response.Body.FlushAsync(context.RequestAborted);
                context.Abort();
                break;
            case "silence":
                await Task.Delay(Timeout.Infinite, context.RequestAborted);
                break;
            default:
                await context.Response.WriteAsync(ending, context.RequestAborted);
                break;
        }
    }
}
