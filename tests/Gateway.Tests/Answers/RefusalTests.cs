// Goal: requests that the server rejects before the gateway sees them get the error shape and an id too. Method:
// requests that are not HTTP, or too long, as bytes on the wire.
using System.Buffers;
using System.IO.Pipelines;
using System.Text.RegularExpressions;
using Atelier.Contracts.Tenants;
using Atelier.Gateway.Answers;
using Xunit;

namespace Atelier.Gateway.Tests.Answers;

public sealed partial class RefusalTests
{
    [Theory]
    [InlineData(499, "invalid_request_error")]
    [InlineData(500, "server_error")]
    public void AStatusWithoutAMeaningOfItsOwn_BlamesTheClientOrTheServer(int status, string type) =>
        Assert.Equal((status, type), (GatewayError.Of(status).Status, GatewayError.Of(status).Type));

    public static TheoryData<string, int, string> Refused { get; } = new()
    {
        { "nonsense\r\n\r\n", 400, "bad_request" },
        { "GET / HTTP/1.1\r\n\r\n", 400, "bad_request" },
        { "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad_request" },
        { "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, "bad_request" },
        { "GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400, "bad_request" },
        { "GET / HTTP/1.1\r\nHost: h\r\nX: \xe9\r\n\r\n", 400, "bad_request" },
        { "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400, "bad_request" },
        { $"GET /{new string('a', 9000)} HTTP/1.1\r\nHost: h\r\n\r\n", 414, "url_too_long" },
        { $"GET / HTTP/1.1\r\nHost: h\r\nX: {new string('a', 40_000)}\r\n\r\n", 431, "headers_too_large" },
        { $"GET / HTTP/1.1\r\nHost: h\r\n{Repeated("X: a\r\n", 120)}\r\n", 431, "headers_too_large" },
        { "GET / HTTP/9.9\r\nHost: h\r\n\r\n", 505, "error" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task TheServersRefusals_HaveTheShape(string request, int status, string code)
    {
        await using TestGateway gateway = await TestGateway.StartAsync();
        string answer = await gateway.RawAsync(request);
        AssertIs(answer, status, code);
    }

    // The gateway adds headers, and what it has accepted must not be refused by a silo. A silo's own limit is tested by
    // HttpLimitsTests.
    [Fact]
    public async Task AsManyHeadersAsAreAccepted_ReachTheSilo_AndOneMoreIsRefused()
    {
        await using StubSilo silo = await StubSilo.StartAsync();
        await using TestGateway gateway = await TestGateway.StartAsync(silo.Endpoint);
        string head = $"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer "
            + $"{gateway.Cluster.NewKey("alice")}\r\n";
        for (int headers = 95; headers <= 105; headers++)
        {
            string others = string.Concat(Enumerable.Range(0, headers - 3).Select(i => $"X-{i}: a\r\n"));
            string answer = await gateway.RawAsync($"{head}{others}\r\n");
            if (headers <= 100)
            {
                Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
                Assert.Contains($"\"X-{headers - 4}\":\"a\"", answer, StringComparison.Ordinal);
                Assert.Contains(Tickets.Header, answer, StringComparison.OrdinalIgnoreCase);
            }
            else
            {
                AssertIs(answer, 431, "headers_too_large");
            }
        }

        Assert.Equal(6, silo.Count);
    }

    // Also after a good request on the same connection, and only once.
    [Fact]
    public async Task ARefusal_ComesAfterTheAnswersBeforeIt()
    {
        await using TestGateway gateway = await TestGateway.StartAsync();
        string answers = await gateway.RawAsync("GET /health/live HTTP/1.1\r\nHost: h\r\n\r\nnonsense\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 ", answers, StringComparison.Ordinal);
        int second = answers.IndexOf("HTTP/1.1 400 ", StringComparison.Ordinal);
        Assert.Equal(second, answers.LastIndexOf("HTTP/1.1 ", StringComparison.Ordinal));
        AssertIs(answers[second..], 400, "bad_request");
    }

    // The server may flush again before it closes the connection.
    [Fact]
    public async Task AWriterThatRefuses_SendsTheFirstRefusal_Once_AndNothingElse()
    {
        var pipe = new Pipe();
        var writer = new RefusalWriter(pipe.Writer);
        writer.Refuse([1, 2, 3]);
        writer.Refuse([4]);
        for (int i = 0; i < 2; i++)
        {
            writer.GetSpan(5000)[0] = 5;
            writer.Advance(1);
            await writer.FlushAsync(TestContext.Current.CancellationToken);
        }

        await writer.CompleteAsync();
        ReadResult read = await pipe.Reader.ReadAtLeastAsync(100, TestContext.Current.CancellationToken);
        Assert.Equal<byte>([1, 2, 3], read.Buffer.ToArray());
    }

    [Fact]
    public async Task ARefusedHead_HasNoBody()
    {
        await using TestGateway gateway = await TestGateway.StartAsync();
        string answer = await gateway.RawAsync("HEAD / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.EndsWith("\r\n\r\n", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ARefusal_SaysHowToDoBetter_AndIsNotKept()
    {
        await using TestGateway gateway = await TestGateway.StartAsync();
        using HttpClient client = gateway.Client(null);
        using HttpResponseMessage noKey = await client.GetAsync("/v1/models");
        Assert.Equal("invalid_api_key", await noKey.ErrorAsync(401));
        Assert.Equal("Bearer", Assert.Single(noKey.Headers.WwwAuthenticate).ToString());
        Assert.True(noKey.Headers.CacheControl!.NoStore);
        Assert.Null(noKey.Headers.RetryAfter);

        using HttpClient tenant = gateway.Tenant();
        using HttpResponseMessage noCluster = await tenant.GetAsync("/v1/models");
        Assert.Equal("cluster_unavailable", await noCluster.ErrorAsync(503));
        Assert.Equal(TimeSpan.FromSeconds(1), noCluster.Headers.RetryAfter!.Delta);
        Assert.Empty(noCluster.Headers.WwwAuthenticate);

        using var head = new HttpRequestMessage(HttpMethod.Head, "/v1/models");
        using HttpResponseMessage withoutBody = await client.SendAsync(head);
        Assert.Equal(noKey.Content.Headers.ContentLength, withoutBody.Content.Headers.ContentLength);
        Assert.Empty(await withoutBody.Content.ReadAsByteArrayAsync());
    }

    private static string Repeated(string line, int times) => string.Concat(Enumerable.Repeat(line, times));

    private static void AssertIs(string answer, int status, string code)
    {
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);
        Assert.Matches(Id(), answer);
        string body = answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..];
        Assert.Contains($"Content-Length: {body.Length}\r\n", answer, StringComparison.Ordinal);
        Assert.Equal(code, AnswerExtensions.ErrorCode(body));
    }

    [GeneratedRegex("\r\nx-request-id: req_[0-9a-f]{32}\r\n", RegexOptions.None, 1000)]
    private static partial Regex Id();
}
