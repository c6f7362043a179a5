// Goal: the HTTP API of a silo bounds its connections and accepts what a gateway accepts. Method: sockets to a server
// with a silo's limits.
using System.Net;
using System.Net.Sockets;
using System.Text;
using Atelier.Silo.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class HttpLimitsTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ConnectionsBeyondTheLimit_AreClosed_UntilOneEnds()
    {
        await using WebApplication app = await ServeAsync(new SiloSettings { HttpConnectionsMax = 2 });
        using TcpClient first = await ConnectAsync(app), second = await ConnectAsync(app);
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(first), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(second), StringComparison.Ordinal);
        using (TcpClient third = await ConnectAsync(app))
        {
            Assert.Equal("", await AskAsync(third));
        }

        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(first), StringComparison.Ordinal);
        first.Dispose();
        string answer = "";
        while (answer.Length == 0)
        {
            using TcpClient next = await ConnectAsync(app);
            answer = await AskAsync(next);
        }

        Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
    }

    // A gateway accepts 100 headers of 32 KiB in total, and adds its own.
    [Fact]
    public async Task MoreHeadersThanAGatewayAccepts_AreAccepted()
    {
        await using WebApplication app = await ServeAsync(new SiloSettings());
        using TcpClient client = await ConnectAsync(app);
        string headers = string.Concat(Enumerable.Range(0, 120).Select(i => $"X-{i}: {new string('a', 300)}\r\n"));
        Assert.StartsWith("HTTP/1.1 200 ", await AskAsync(client, headers), StringComparison.Ordinal);
    }

    private static async Task<WebApplication> ServeAsync(SiloSettings settings)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            SiloHost.Limit(kestrel.Limits, settings);
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync("ok"));
        await app.StartAsync(Token);
        return app;
    }

    private static async Task<TcpClient> ConnectAsync(WebApplication app)
    {
        var url = new Uri(app.Urls.Single());
        var client = new TcpClient();
        await client.ConnectAsync(url.Host, url.Port, Token);
        return client;
    }

    // The whole answer; what there is of it, or nothing, if the connection is closed.
    private static async Task<string> AskAsync(TcpClient client, string headers = "")
    {
        byte[] buffer = new byte[4096];
        string answer = "";
        try
        {
            NetworkStream stream = client.GetStream();
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n"), Token);
            while (!answer.EndsWith("0\r\n\r\n", StringComparison.Ordinal)
                && await stream.ReadAsync(buffer, Token) is > 0 and int read)
            {
                answer += Encoding.ASCII.GetString(buffer, 0, read);
            }
        }
        catch (IOException)
        {
            // Closed.
        }

        return answer;
    }
}
