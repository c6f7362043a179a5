// Goal: if a partitioned cluster has two activations of a generation, the older one never overwrites what the newer one
// stored. Method: two clusters over one store; the older activation exists first, and rejects a call meanwhile.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Xunit;

namespace Atelier.Grains.Tests.Generations;

public sealed class TwoActivationsTests
{
    private static readonly GenerationKey s_key = new(TestCluster.Tenant, new GenerationId("g"));
    private static readonly Submission s_submission = new() { Spec = TestCluster.Spec(1, 20) };

    [Fact]
    public async Task OlderActivation_ThatRefusedAReport_KeepsTheNewerSnapshot()
    {
        await using TestCluster one = await TestCluster.StartAsync(1, _ => null);
        await using TestCluster other = await TestCluster.StartAsync(1, _ => null, twin: one);
        await one.SubmitAsync("g", s_submission);
        IGenerationGrain older = one.Generation("g"), newer = other.Generation("g");
        ClaimAnswer encode = await older.ClaimAsync(Request(WorkKind.Encode, 1));
        await older.CompleteAsync(encode.Epoch, await PutAsync(one, BlobKind.Caption, "caption"));
        ClaimAnswer denoise = await older.ClaimAsync(Request(WorkKind.Denoise, 2));
        await older.ReportAsync(await ReportAsync(one, denoise, 3));
        Assert.Equal(ReportOutcome.Taken, await newer.ReportAsync(await ReportAsync(one, denoise, 8)));

        Assert.Equal(ReportOutcome.Refused, await older.ReportAsync(new StepReport { Epoch = encode.Epoch, Step = 1 }));

        Assert.Equal(8, (await older.ViewAsync())!.Step);
        await older.ReleaseAsync(new StepReport { Epoch = denoise.Epoch, Step = 8 });
        ClaimAnswer again = await older.ClaimAsync(Request(WorkKind.Denoise, 3));
        Assert.Equal((ClaimOutcome.Granted, 8), (again.Outcome, again.Step));
        Assert.Equal("step 8", System.Text.Encoding.UTF8.GetString(one.Blobs[again.Snapshot!.Value]));
    }

    [Theory]
    [InlineData("claim")]
    [InlineData("walk")]
    [InlineData("cancel")]
    public async Task ActivationFromBeforeTheSubmission_ThatRefusedSomebody_KeepsWhatWasAccepted(string refused)
    {
        await using TestCluster one = await TestCluster.StartAsync(1, _ => null);
        await using TestCluster other = await TestCluster.StartAsync(1, _ => null, twin: one);
        Assert.Null(await one.Generation("g").ViewAsync());
        Assert.Equal(SubmitOutcome.Accepted, (await other.SubmitAsync("g", s_submission)).Outcome);

        switch (refused)
        {
            case "claim":
                await one.Generation("g").ClaimAsync(Request(WorkKind.Denoise, 1));
                break;
            case "cancel":
                Assert.Equal(GenerationPhase.Cancelled, (await one.Generation("g").CancelAsync())!.Phase);
                break;
        }

        _ = await GrainCalls.TryAsync(() => one.Generation("g").EnsureQueuedAsync(late: true));
        Assert.Equal(SubmitOutcome.Exists, (await one.SubmitAsync("g", s_submission)).Outcome);
    }

    [Fact]
    public async Task OlderActivation_ThatKnowsAnEnd_KeepsANewlyAcceptedGenerationInTheOpenSet()
    {
        await using TestCluster one = await TestCluster.StartAsync(1, _ => null);
        await using TestCluster other = await TestCluster.StartAsync(1, _ => null, twin: one);
        await one.SubmitAsync("g", s_submission);
        await one.Generation("g").CancelAsync();
        await other.Generation("g").ForgetAsync(long.MaxValue);
        Assert.Equal(SubmitOutcome.Accepted, (await other.SubmitAsync("g", s_submission)).Outcome);

        Assert.True(await one.Generation("g").EnsureQueuedAsync(late: false));
    }

    [Fact]
    public async Task OlderActivation_ThatKnowsNothing_DeletesWhatWasAcceptedMeanwhile()
    {
        await using TestCluster one = await TestCluster.StartAsync(1, _ => null);
        await using TestCluster other = await TestCluster.StartAsync(1, _ => null, twin: one);
        Assert.Null(await one.Generation("g").ViewAsync());
        await other.SubmitAsync("g", s_submission);
        await one.Generation("g").DeleteAsync();
        Assert.Equal(SubmitOutcome.Gone, (await one.SubmitAsync("g", s_submission)).Outcome);
    }

    private static ClaimRequest Request(WorkKind kind, int attempt) =>
        new("elsewhere/d", long.MaxValue - 1000 + attempt, kind, "cpu", Alone: false, attempt);

    private static async Task<StepReport> ReportAsync(TestCluster cluster, ClaimAnswer claim, int step) => new()
    {
        Epoch = claim.Epoch, Step = step, Snapshot = await PutAsync(cluster, BlobKind.Snapshot, $"step {step}"),
    };

    private static Task<BlobName> PutAsync(TestCluster cluster, BlobKind kind, string text) =>
        cluster.Blobs.PutAsync(kind, s_key, FakeDevice.Bytes(text), TestContext.Current.CancellationToken);
}
