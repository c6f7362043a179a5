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
    private readonly StringWriter _output = new(), _errors = new();
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
        Assert.Equal("Drew \"a red circle\": a PNG of 8 bytes.\n", $"{_output}");
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
        Says("No picture was drawn: POST /v1/images/generations was answered with 503: {\"data\"");
        Assert.Equal("DELETE /v1/admin/tenants/check/keys/h1 by admin", _calls[^1]);
        (_status, _picture) = (200, "AAAA");
        Assert.Equal(1, await RunAsync());
        Says("No picture was drawn: The answer is not a PNG.");
        Assert.Equal(1, await RunAsync("--url", "http://127.0.0.1:1", "--prompt", "a", "--Check:AdminKey", "admin"));
        Says("No picture was drawn: Connection refused");
        Assert.Equal(2, await RunAsync("--url", "nowhere", "--prompt", "a", "--Check:AdminKey", "k"));
        Says("check needs --url URL, --prompt TEXT and, in Check__AdminKey, the administrator's key.");
        Assert.Equal(2, await RunAsync("--url", _app.Urls.Single(), "--prompt", "a"));
        Says("check needs --url URL");
        Assert.Empty($"{_output}");
    }

    private void Says(string message)
    {
        Assert.StartsWith($"atelier: {message}", $"{_errors}");
        _errors.GetStringBuilder().Clear();
    }

    private Task<int> RunAsync() =>
        RunAsync("--url", _app.Urls.Single(), "--prompt", "a red circle", "--Check:AdminKey", "admin");

    private Task<int> RunAsync(params string[] args) => PictureCheck.RunAsync(args, _output, _errors);

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
