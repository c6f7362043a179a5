// Goal: the pods of the chart's demonstration start, and draw a picture through the rendered gateway. Method: their
// commands run as processes, each with the rendered environment, user, files, probes and network; see PodCluster.
using k8s.Models;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

public sealed class PodsTests(Renderer renderer)
{
    [Fact(Explicit = true)] // Takes up to a minute; `./atelier test --long pods` runs it.
    public async Task TheDemonstration_Starts_AndItsTestDrawsAPicture()
    {
        await using PodCluster cluster = await PodCluster.CreateAsync(renderer["cpu-demo"]);
        cluster.Start();
        await cluster.CompleteAsync();
        (int code, string output) = await cluster.RunAsync(Assert.Single(renderer["cpu-demo"].All<V1Pod>()));
        Assert.True(code == 0, output + cluster.Describe());
        Assert.Contains("Drew", output, StringComparison.Ordinal);
        Assert.All(cluster.Pods, pod => Assert.Equal(0, pod.Restarts));
    }
}
