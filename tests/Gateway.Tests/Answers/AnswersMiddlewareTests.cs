// Goal: a response that fails after it has begun does not look complete to the client. Method: a server with the
// middleware, whose handler throws after a part of the body.
using System.Net;
using Atelier.Contracts.Diagnostics;
using Atelier.Gateway.Answers;
using Atelier.Gateway.Telemetry;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Gateway.Tests.Answers;

public sealed class AnswersMiddlewareTests
{
    [Fact]
    public async Task AResponseThatFailsHalfWay_IsCutOff()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        builder.Services.AddMetrics();
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton<GatewayInstruments>();
        builder.Services.AddSingleton<LogLimits>();
        builder.Services.AddSingleton<RefusalRecord>();
        await using WebApplication app = builder.Build();
        app.UseMiddleware<AnswersMiddleware>();
        app.Run(async context =>
        {
            await context.Response.WriteAsync("a part");
            await context.Response.Body.FlushAsync();
            throw new InvalidOperationException("The rest is missing.");
        });
        await app.StartAsync(TestContext.Current.CancellationToken);
        using var client = new HttpClient();
        await Assert.ThrowsAsync<HttpRequestException>(
            () => client.GetStringAsync(app.Urls.Single(), TestContext.Current.CancellationToken));
    }
}
