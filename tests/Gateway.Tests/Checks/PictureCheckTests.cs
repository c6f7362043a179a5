// Goal: the check of a cluster draws a picture as a client would, leaves no valid key behind, and says why there is no
// picture. Method: the command against a server that answers as a gateway does.
using System.Net;
using System.Text.Json;
using Atelier.Gateway.Checks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Atelier.Gateway.Tests.Checks;

public sealed class PictureCheckTests : IAsyncLifetime
{
    private const string Png = "iVBORw0KGgo=";

    private readonly List<string> _calls = [];
    private WebApplication _app = null!;
    private string _picture = Png;
    private int _status = 200;

    public async ValueTask InitializeAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        _app = builder.Build();
        _app.Run(AnswerAsync);
        await _app.StartAsync(TestContext.Current.CancellationToken);
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    [Fact]
    public async Task ACheck_DrawsWithAKeyOfItsOwn_WhichIsRevoked()
    {
        Assert.Equal(0, await RunAsync());
        Assert.Equal(
            [
                "PUT /v1/admin/tenants/check by admin", "POST /v1/admin/tenants/check/keys by admin",
                "POST /v1/images/generations by new {\"prompt\":\"a red circle\",\"response_format\":\"b64_json\"}",
                "DELETE /v1/admin/tenants/check/keys/h1 by admin",
            ],
            _calls);
    }

    [Fact]
    public async Task AFailure_IsAnExitCode_AndTheKeyIsRevoked()
    {
        _status = 503;
        Assert.Equal(1, await RunAsync());
        Assert.Equal("DELETE /v1/admin/tenants/check/keys/h1 by admin", _calls[^1]);
        (_status, _picture) = (200, "AAAA");
        Assert.Equal(1, await RunAsync());
        Assert.Equal(1, await PictureCheck.RunAsync(
            ["--url", "http://127.0.0.1:1", "--prompt", "a", "--Check:AdminKey", "admin"]));
        Assert.Equal(2, await PictureCheck.RunAsync(["--url", "nowhere", "--prompt", "a", "--Check:AdminKey", "k"]));
        Assert.Equal(2, await PictureCheck.RunAsync(["--url", _app.Urls.Single(), "--prompt", "a"]));
    }

    private Task<int> RunAsync() => PictureCheck.RunAsync(
        ["--url", _app.Urls.Single(), "--prompt", "a red circle", "--Check:AdminKey", "admin"]);

    private async Task AnswerAsync(HttpContext context)
    {
        using var reader = new StreamReader(context.Request.Body);
        string body = await reader.ReadToEndAsync(), path = context.Request.Path;
        string key = context.Request.Headers.Authorization.ToString().Replace("Bearer ", "", StringComparison.Ordinal);
        bool draws = path == "/v1/images/generations";
        _calls.Add($"{context.Request.Method} {path} by {key}{(draws ? $" {body}" : "")}");
        context.Response.StatusCode = draws ? _status : context.Request.Method == "DELETE" ? 204 : 200;
        if (context.Response.StatusCode != 204)
        {
            await context.Response.WriteAsync(JsonSerializer.Serialize<object>(
                draws ? new { data = new[] { new { b64_json = _picture } } } : new { key = "new", hash = "h1" }));
        }
    }
}
