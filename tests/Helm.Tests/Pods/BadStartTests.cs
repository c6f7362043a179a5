// Goal: a silo that cannot work says what is wrong, and never becomes ready. Method: the demonstration's pods with one
// thing spoiled each. `./atelier test --long pods` runs it.
using k8s.Models;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

public sealed class BadStartTests
{
    [Fact(Explicit = true)]
    public async Task ASecretThatIsTooShort_IsNamed()
    {
        Rendering rendering = await DemonstrationAsync();
        await using PodCluster cluster = await PodCluster.CreateAsync(rendering);
        cluster.Source.SetSecret(cluster.Prefix, "cluster-secret", "c2hvcnQ=");
        await ExpectAsync(cluster, ["control"], "Cluster:Secret must be 32 bytes or more");
    }

    [Theory(Explicit = true)]
    [InlineData("noeviction", "allkeys-lru")]
    [InlineData("always", "no")]
    public async Task ARedisThatForgets_IsNotUsed(string setting, string wrong)
    {
        Rendering rendering = await DemonstrationAsync();
        IList<string> arguments = Assert.Single(rendering.All<V1StatefulSet>()).Spec.Template.Spec.Containers[0].Args;
        arguments[arguments.IndexOf(setting)] = wrong;
        await using PodCluster cluster = await PodCluster.CreateAsync(rendering);
        await ExpectAsync(
            cluster, ["redis", "control"], "appendonly yes, appendfsync always and maxmemory-policy noeviction");
    }

    [Fact(Explicit = true)]
    public async Task AModelThatIsIncomplete_IsNotServed()
    {
        Rendering rendering = await DemonstrationAsync();
        await using PodCluster cluster = await PodCluster.CreateAsync(rendering);
        cluster.Source.SpoilModel("denoiser.safetensors");
        await ExpectAsync(cluster, ["redis", "control", "cpu"], "denoiser.safetensors");
    }

    // Starts these workloads; the last one's pods write the text, and are never ready.
    private static async Task ExpectAsync(PodCluster cluster, string[] started, string text)
    {
        foreach (Workload workload in cluster.Workloads)
        {
            workload.Replicas = started.Any(name => cluster[name] == workload) ? 1 : 0;
        }

        Workload last = cluster[started[^1]];
        cluster.Start();
        await cluster.UntilAsync(
            "The refusal", () => last.Pods.Any(pod => pod.Restarts > 0 || pod.Waiting is not null),
            seconds: 40);
        RunningPod refused = Assert.Single(last.Pods);
        Assert.Contains(text, refused.Output + refused.Waiting, StringComparison.Ordinal);
        Assert.False(refused.HasBeenReady, cluster.Describe());
    }

    private static Task<Rendering> DemonstrationAsync() =>
        Renderer.RenderAsync("-f", Repository.ValuesOf("cpu-demo"));
}
