// Goal: each cloud's metadata service is asked as it demands, and only it. Method: a stub on the loopback address that
// refuses what the real service would refuse.
using Atelier.Silo.Hosting.Preemption;
using Xunit;

namespace Atelier.Silo.Tests.Hosting.Preemption;

public sealed class MetadataServicesTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Azure_IsAskedForItsEvents_AndOnceForTheNodesName()
    {
        string events = PreemptionNoticeTests.Events();
        await using MetadataStub stub = await MetadataStub.StartAsync(request =>
            request.Headers["Metadata"] != "true" ? (400, "")
            : request.Path == "/metadata/instance/compute/name" ? (200, "node_3")
            : (200, events));
        using HttpClient http = Client(stub);
        IPreemptionNotice source = PreemptionHosting.Source(Options(PreemptionProvider.Azure), http);
        Assert.Null(await source.PollAsync(Cancellation));
        events = PreemptionNoticeTests.Events(PreemptionNoticeTests.Event("Preempt", "node_3", ""));
        Assert.NotNull(await source.PollAsync(Cancellation));
        Assert.Equal(
            [
                "GET /metadata/instance/compute/name?api-version=2021-02-01&format=text",
                "GET /metadata/scheduledevents?api-version=2020-07-01",
                "GET /metadata/scheduledevents?api-version=2020-07-01",
            ],
            stub.Requests);
    }

    [Fact]
    public async Task Aws_IsAskedWithAToken_WhichIsReplacedWhenItExpires()
    {
        (string token, bool isTaken) = ("first", false);
        await using MetadataStub stub = await MetadataStub.StartAsync(request =>
            request.Path == "/latest/api/token"
                ? request.Method == "PUT" && request.Headers["X-aws-ec2-metadata-token-ttl-seconds"].Count == 1
                    ? (200, token) : (400, "")
            : request.Headers["X-aws-ec2-metadata-token"] != token ? (401, "")
            : isTaken ? (200, """{"action":"terminate","time":"2026-09-18T08:22:00Z"}""")
            : (404, "<html>"));
        using HttpClient http = Client(stub);
        IPreemptionNotice source = PreemptionHosting.Source(Options(PreemptionProvider.Aws), http);
        Assert.Null(await source.PollAsync(Cancellation));
        Assert.Null(await source.PollAsync(Cancellation));
        Assert.Single(stub.Requests, request => request.StartsWith("PUT", StringComparison.Ordinal));

        token = "second";
        Assert.Null(await source.PollAsync(Cancellation));
        isTaken = true;
        Assert.NotNull(await source.PollAsync(Cancellation));
    }

    // The tag of the last answer makes the service answer at once if the flag has changed between two polls.
    [Fact]
    public async Task Google_IsAskedToWaitForAChange_SinceTheLastAnswer()
    {
        string flag = "FALSE";
        await using MetadataStub stub = await MetadataStub.StartAsync(
            request => request.Headers["Metadata-Flavor"] == "Google" ? (200, flag) : (403, ""));
        stub.Tag = "a1";
        using HttpClient http = Client(stub);
        IPreemptionNotice source = PreemptionHosting.Source(Options(PreemptionProvider.Gcp), http);
        Assert.Null(await source.PollAsync(Cancellation));
        flag = "TRUE";
        Assert.NotNull(await source.PollAsync(Cancellation));
        Assert.Equal(
            [
                "GET /computeMetadata/v1/instance/preempted",
                "GET /computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec=2&last_etag=a1",
            ],
            stub.Requests);
    }

    [Theory]
    [InlineData(PreemptionProvider.Azure)]
    [InlineData(PreemptionProvider.Aws)]
    [InlineData(PreemptionProvider.Gcp)]
    public async Task AServiceThatFails_IsNoNotice(PreemptionProvider provider)
    {
        await using MetadataStub stub = await MetadataStub.StartAsync(_ => (503, "try later"));
        using HttpClient http = Client(stub);
        IPreemptionNotice source = PreemptionHosting.Source(Options(provider), http);
        await Assert.ThrowsAsync<HttpRequestException>(() => source.PollAsync(Cancellation));
    }

    private static PreemptionOptions Options(PreemptionProvider provider) => new() { Provider = provider };

    private static HttpClient Client(MetadataStub stub) => new() { BaseAddress = new Uri(stub.Url) };
}
