// Goal: KEDA gets whole and correct answers about pools, at once when one wakes, and errors that say what is wrong with
// a trigger. Method: a silo with production settings, called over gRPC as KEDA calls it.
using System.Net;
using Atelier.Grains.Tests;
using Atelier.Silo.Scaling.Keda;
using Atelier.Silo.Tests.Hosting;
using Grpc.Core;
using Grpc.Net.Client;
using Xunit;

namespace Atelier.Silo.Tests.Scaling;

/// <summary>A silo that answers autoscalers.</summary>
public sealed class ScalerSilo : IAsyncLifetime
{
    private readonly ClusterPortsTests.RunningSilo _silo;

    public ScalerSilo()
    {
        Address = new Uri($"http://127.0.0.1:{ClusterPortsTests.RunningSilo.FreePorts(1)[0]}");
        _silo = new ClusterPortsTests.RunningSilo { Settings = [$"--Scaler:Port={Address.Port}"] };
        Channel = GrpcChannel.ForAddress(Address);
    }

    internal Uri Address { get; }

    internal GrpcChannel Channel { get; }

    internal IReadOnlyList<string> Lines => _silo.Lines;

    public ValueTask InitializeAsync() => _silo.InitializeAsync();

    public async ValueTask DisposeAsync()
    {
        Channel.Dispose();
        await _silo.DisposeAsync();
    }
}

[Collection(ClusterPortsTests.RunningSilo.Serially)]
public sealed class ExternalScalerTests(ScalerSilo silo) : IClassFixture<ScalerSilo>
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private ExternalScaler.ExternalScalerClient Keda => new(silo.Channel);

    [Fact]
    public async Task APool_IsActive_AndItsMetricIsTheNumberOfSilos()
    {
        ScaledObjectRef pool = Trigger("gpus");
        Assert.True((await Keda.IsActiveAsync(pool, cancellationToken: Cancellation)).Result);
        MetricSpec spec = (await Keda.GetMetricSpecAsync(pool, cancellationToken: Cancellation)).MetricSpecs.Single();
        Assert.Equal((1, 1.0), (spec.TargetSize, spec.TargetSizeFloat));
        GetMetricsResponse metrics = await Keda.GetMetricsAsync(
            new GetMetricsRequest { ScaledObjectRef = Trigger("gpus", ("minimum", "3")), MetricName = spec.MetricName },
            cancellationToken: Cancellation);
        MetricValue value = metrics.MetricValues.Single();
        Assert.Equal((spec.MetricName, 3, 3.0), (value.MetricName, value.MetricValue_, value.MetricValueFloat));

        // A pool that only trains needs no silo without a run.
        ScaledObjectRef trainers = Trigger("trainers", ("roles", "training"));
        Assert.False((await Keda.IsActiveAsync(trainers, cancellationToken: Cancellation)).Result);
        using AsyncServerStreamingCall<IsActiveResponse> stream = Keda.StreamIsActive(
            trainers, cancellationToken: Cancellation);
        Assert.True(await stream.ResponseStream.MoveNext(Cancellation));
        Assert.False(stream.ResponseStream.Current.Result);
    }

    [Theory]
    [InlineData("pool", "", "pool")]
    [InlineData("pool", "a b", "Silo:Pool")]
    [InlineData("roles", "control", "inference, training, or both")]
    [InlineData("minimum", "-1", "whole number from 0")]
    [InlineData("minimum", "9", "minimum is 9 and maximum is 8")]
    [InlineData("maximum", "0", "maximum must be at least 1")]
    [InlineData("maximum", "ten", "whole number from 0")]
    [InlineData("targetWait", "90", "00:01:30")]
    [InlineData("coldStart", "00:00:00", "00:01:30")]
    [InlineData("coldStart", "", "coldStart")]
    public async Task ATriggerThatIsWrong_IsRefused_ByName(string key, string value, string named)
    {
        RpcException error = await Assert.ThrowsAsync<RpcException>(
            async () => await Keda.IsActiveAsync(Trigger("gpus", (key, value)), cancellationToken: Cancellation));
        Assert.Equal(StatusCode.InvalidArgument, error.StatusCode);
        Assert.Contains(key, error.Status.Detail, StringComparison.Ordinal);
        Assert.Contains(named, error.Status.Detail, StringComparison.Ordinal);
    }

    // The silo is of the pool "default".
    [Fact]
    public async Task APoolThatIsNotThere_IsReportedOnce_WithThePoolsThatAre()
    {
        ScaledObjectRef pool = Trigger("misspelled", ("coldStart", "00:00:00.0100000"));
        await Eventually.TrueAsync(async () =>
        {
            Assert.True((await Keda.IsActiveAsync(pool, cancellationToken: Cancellation)).Result);
            return Reports().Any();
        });
        for (int i = 0; i < 5; i++)
        {
            await Keda.IsActiveAsync(pool, cancellationToken: Cancellation);
        }

        Assert.Contains(
            "Silo:Pool is misspelled: the cluster's silos are of default.", Assert.Single(Reports()),
            StringComparison.Ordinal);

        IEnumerable<string> Reports() => silo.Lines.Where(
            line => line.StartsWith("Pool misspelled should have 1 silos", StringComparison.Ordinal));
    }

    [Fact]
    public async Task PoolsWithoutEnd_AreRefused_AndTheKnownOnesAnswer()
    {
        await using var other = new ScalerSilo();
        await other.InitializeAsync();
        var keda = new ExternalScaler.ExternalScalerClient(other.Channel);
        for (int i = 0; i < 64; i++)
        {
            await keda.IsActiveAsync(Trigger($"pool-{i}"), cancellationToken: Cancellation);
        }

        RpcException error = await Assert.ThrowsAsync<RpcException>(
            async () => await keda.IsActiveAsync(Trigger("one-more"), cancellationToken: Cancellation));
        Assert.Equal(StatusCode.ResourceExhausted, error.StatusCode);
        Assert.True((await keda.IsActiveAsync(Trigger("pool-7"), cancellationToken: Cancellation)).Result);
    }

    [Fact]
    public async Task ThePort_AnswersNothingElse()
    {
        using var http = new HttpClient
        {
            BaseAddress = silo.Address, DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        foreach (string path in (string[])["/v1/models", "/metrics", "/health/ready"])
        {
            using HttpResponseMessage response = await http.GetAsync(new Uri(path, UriKind.Relative), Cancellation);
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        }
    }

    private static ScaledObjectRef Trigger(string pool, params (string Key, string Value)[] changes)
    {
        var trigger = new ScaledObjectRef
        {
            Name = pool, Namespace = "atelier",
            ScalerMetadata =
            {
                ["pool"] = pool, ["roles"] = "inference", ["minimum"] = "0", ["maximum"] = "8",
                ["targetWait"] = "00:02:00", ["coldStart"] = "00:01:00", ["scalerAddress"] = "ignored",
            },
        };
        foreach ((string key, string value) in changes)
        {
            trigger.ScalerMetadata[key] = value;
        }

        return trigger;
    }
}
