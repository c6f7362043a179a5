// Fake silos: one that reports what it received, and one on a bare socket that can die at any point.
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Atelier.Contracts.Cluster;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Atelier.Gateway.Tests;

/// <summary>What a silo received.</summary>
internal sealed record Received(
    string Silo, string Method, string Target, Dictionary<string, string> Headers, string Body);

/// <summary>A server that answers with what it received, unless it is given another handler.</summary>
internal sealed class StubSilo : IAsyncDisposable
{
    private readonly WebApplication _app;
    private int _count;

    private StubSilo(WebApplication app, string name) => (_app, Name) = (app, name);

    public string Name { get; }

    public int Count => Volatile.Read(ref _count);

    /// <summary>Handles a request; the default answers with <see cref="Received"/>.</summary>
    public Func<HttpContext, Task>? Handler { get; set; }

    /// <summary>The answer to the gateway's readiness check; ready by default.</summary>
    public Func<HttpContext, Task>? Ready { get; set; }

    public SiloEndpoint Endpoint => new(Name, _app.Urls.Single());

    public static async Task<StubSilo> StartAsync(string name = "one")
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestHeaderCount *= 2; // As a silo.
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        var silo = new StubSilo(builder.Build(), name);
        silo._app.Run(silo.AnswerAsync);
        await silo._app.StartAsync();
        return silo;
    }

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await _app.StopAsync(now.Token);
        await _app.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path == "/health/ready")
        {
            await (Ready?.Invoke(context) ?? Task.CompletedTask);
            return;
        }

        Interlocked.Increment(ref _count);
        if (Handler is { } handler)
        {
            await handler(context);
            return;
        }

        using var reader = new StreamReader(context.Request.Body);
        string target = context.Features.Get<IHttpRequestFeature>()!.RawTarget;
        var headers = context.Request.Headers.ToDictionary(
            header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase);
        await context.Response.WriteAsJsonAsync(
            new Received(Name, context.Request.Method, target, headers, await reader.ReadToEndAsync()),
            JsonSerializerOptions.Default);
    }
}

/// <summary>
/// A server on a bare socket: it reads each request's head and then treats the connection as the test says.
/// </summary>
internal sealed class BareSilo : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Func<int, string?> _answer;
    private int _count;

    /// <summary>Starts it.</summary>
    /// <param name="answer">What is sent for the n-th request, from 1; null closes the connection.</param>
    public BareSilo(Func<int, string?> answer)
    {
        _answer = answer;
        _listener.Start();
        _ = AcceptAsync();
    }

    /// <summary>Number of requests; the gateway's readiness checks, which are answered, do not count.</summary>
    public int Count => Volatile.Read(ref _count);

    public SiloEndpoint Endpoint => new("bare", $"http://{_listener.LocalEndpoint}");

    /// <summary>An endpoint at which nobody listens.</summary>
    public static SiloEndpoint Nobody(string name = "nobody")
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return new SiloEndpoint(name, $"http://{listener.LocalEndpoint}");
    }

    public void Dispose() => _listener.Dispose();

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = ServeAsync(await _listener.AcceptTcpClientAsync());
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // Stopped.
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using (client)
        {
            byte[] buffer = new byte[65536];
            var text = new StringBuilder();
            while (await client.GetStream().ReadAsync(buffer) is > 0 and var bytes)
            {
                text.Append(Encoding.ASCII.GetString(buffer, 0, bytes));
                if (!text.ToString().Contains("\r\n\r\n", StringComparison.Ordinal))
                {
                    continue;
                }

                bool isProbe = text.ToString().StartsWith("GET /health/ready ", StringComparison.Ordinal);
                text.Clear();
                if (isProbe)
                {
                    await client.GetStream().WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"u8.ToArray());
                    continue;
                }

                if (_answer(Interlocked.Increment(ref _count)) is not { } answer)
                {
                    return;
                }

                await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(answer));
            }
        }
    }
}
