// Goal: the trace of a request reaches the work on its picture on any silo, and a request without a trace creates no
// activity. Method: a request with W3C's header over HTTP, and a listener to that trace.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text;
using Atelier.Grains.Tests;
using Xunit;

namespace Atelier.Silo.Tests.Api.Images;

[Collection(nameof(TraceTests))]
public sealed class TraceTests
{
    [Fact]
    public async Task ARequestsTrace_ReachesTheWorkersActivities()
    {
        await using var cluster = new ApiCluster { IsTraced = true };
        await cluster.InitializeAsync();
        using HttpClient client = await cluster.ClientAsync("traced");
        var trace = ActivityTraceId.CreateRandom();
        var ended = new ConcurrentQueue<Activity>();
        var strangers = new ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name.StartsWith("Atelier.", StringComparison.Ordinal)
                || source.Name is "Microsoft.AspNetCore" or "Microsoft.Orleans.Application",
            Sample = (ref ActivityCreationOptions<ActivityContext> options) => options.TraceId == trace
                ? ActivitySamplingResult.AllDataAndRecorded : ActivitySamplingResult.None,
            ActivityStopped = activity => (activity.TraceId == trace ? ended : strangers).Enqueue(activity),
        };
        ActivitySource.AddActivityListener(listener);

        using var request = new HttpRequestMessage(HttpMethod.Post, ApiCalls.Images)
        {
            Content = new StringContent("""{"prompt":"red","steps":3}""", Encoding.UTF8, "application/json"),
        };
        request.Headers.Add("traceparent", $"00-{trace}-{ActivitySpanId.CreateRandom()}-01");
        using HttpResponseMessage answer = await client.SendAsync(request, ApiCluster.Cancellation);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(ApiCluster.Cancellation));
        await Eventually.TrueAsync(() => ended.Any(one => one.OperationName == "generation.decode"));

        string[] names = [.. ended.Select(one => one.OperationName)
            .Where(name => name.StartsWith("generation.", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        Assert.Equal(
            [
                "generation.claim", "generation.claim", "generation.claim", "generation.decode", "generation.denoise",
                "generation.encode", "generation.submit",
            ],
            names);
        Activity denoise = ended.Single(one => one.OperationName == "generation.denoise");
        Assert.Equal("traced", denoise.GetTagItem("atelier.tenant"));
        Assert.Equal(3, denoise.GetTagItem("atelier.steps"));
        Assert.Equal(true, denoise.GetTagItem("atelier.finished"));
        Activity submit = ended.Single(one => one.OperationName == "generation.submit");
        Assert.All(
            ended.Where(one => one.OperationName is "generation.claim" or "generation.encode" or "generation.denoise"
                or "generation.decode"),
            one => Assert.Equal(submit.SpanId, one.ParentSpanId));

        using HttpResponseMessage plain = await client.PostAsync(
            ApiCalls.Images, new StringContent("""{"prompt":"blue","steps":2}""", Encoding.UTF8, "application/json"),
            ApiCluster.Cancellation);
        Assert.True(plain.IsSuccessStatusCode);
        Assert.DoesNotContain(
            strangers, one => one.OperationName.StartsWith("generation.", StringComparison.Ordinal));
    }
}
