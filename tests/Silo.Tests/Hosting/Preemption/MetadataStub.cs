// A metadata service on the loopback address, which answers as the test says.
using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Atelier.Silo.Tests.Hosting.Preemption;

internal sealed class MetadataStub : IAsyncDisposable
{
    private readonly WebApplication _app;

    private MetadataStub(Func<HttpRequest, (int Status, string Body)> answer)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        _app = builder.Build();
        _app.Run(async context =>
        {
            Requests.Enqueue($"{context.Request.Method} {context.Request.Path}{context.Request.QueryString}");
            (context.Response.StatusCode, string body) = answer(context.Request);
            context.Response.Headers.ETag = Tag;
            await context.Response.WriteAsync(body);
        });
    }

    public ConcurrentQueue<string> Requests { get; } = new();

    public string Tag { get; set; } = "";

    public string Url => _app.Urls.First();

    public static async Task<MetadataStub> StartAsync(Func<HttpRequest, (int Status, string Body)> answer)
    {
        var stub = new MetadataStub(answer);
        await stub._app.StartAsync();
        return stub;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
