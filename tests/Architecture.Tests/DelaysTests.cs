// Goal: tests do not sleep. They set a fake time, wait for a signal, or wait for a condition with Eventually. Method:
// the calls in the tests' code, and a list of the files that may have them, each with its reason.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class DelaysTests
{
    private static readonly Dictionary<string, string> s_allowed = new(StringComparer.Ordinal)
    {
        ["tests/Cli.Tests/Cluster/SupervisionTests.cs"] = "processes",
        ["tests/Cli.Tests/Cluster/UpTests.cs"] = "processes",
        ["tests/Cli.Tests/Commands/TrainTests.cs"] = "a process that is killed at random",
        ["tests/Cli.Tests/Cluster/UpTests.Training.cs"] = "processes",
        ["tests/EndToEnd/FuzzTests.cs"] = "processes",
        ["tests/EndToEnd/NothingIsLostTests.cs"] = "processes",
        ["tests/EndToEnd/Pictures.cs"] = "processes",
        ["tests/EndToEnd/RecoveryTests.cs"] = "processes",
        ["tests/EndToEnd/TestCluster.cs"] = "processes",
        ["tests/Grains.Tests/Cluster/Fakes.cs"] = "the pace of a device",
        ["tests/Grains.Tests/Cluster/TestCluster.cs"] = "the pause between attempts of a call to a silo that starts",
        ["tests/Grains.Tests/Eventually.cs"] = "the wait for a condition",
        ["tests/Grains.Tests/Models/PublishedModelsGrainTests.cs"] = "periods in which nothing may happen",
        ["tests/Grains.Tests/OpenSets/RetentionTests.cs"] = "a call that is held until others queue behind it",
        ["tests/Grains.Tests/Training/FakeTraining.cs"] = "the pace of a device",
        ["tests/Grains.Tests/Workers/WorkerLoopTests.cs"] = "random faults on the thread pool",
        ["tests/Grains.Tests/Workers/WorkerWorld.cs"] = "random faults on the thread pool",
        ["tests/Helm.Tests/Pods/KedaOperator.cs"] = "processes",
        ["tests/Helm.Tests/Pods/Linux.cs"] = "processes",
        ["tests/Helm.Tests/Pods/PodCluster.cs"] = "processes",
        ["tests/Helm.Tests/Pods/RunningPod.cs"] = "processes",
        ["tests/Helm.Tests/Pods/ServiceProxy.cs"] = "the time in which endpoints change",
        ["tests/Model.Tests/Data/Caching/ShardCacheTests.cs"] = "the pace of a store",
        ["tests/Silo.Tests/Api/Admin/PublishTests.cs"] = "the wait for a condition over HTTP",
        ["tests/Silo.Tests/Api/Images/ImagesTests.cs"] = "the wait for a condition over HTTP",
        ["tests/Silo.Tests/Api/Training/RunsTests.cs"] = "the wait for a condition over HTTP",
        ["tests/Silo.Tests/Blobs/AzuriteServer.cs"] = "a process",
        ["tests/Silo.Tests/Store/RedisServer.cs"] = "a process",
        ["tests/Silo.Tests/Store/SqliteStoreTests.cs"] = "readers of a database that overlap",
        ["tests/Silo.Tests/Hosting/Preemption/PreemptionWatchTests.cs"] = "the wait for a condition",
        ["tests/Silo.Tests/Training/Data/BlobDataTests.cs"] = "the pace of a store",
        ["tests/Silo.Tests/Training/PeerNode.cs"] = "heartbeats over a socket",
        ["tests/Silo.Tests/Training/TcpPeersTests.cs"] = "random pauses between connections",
    };

    [Fact]
    public void OnlyListedTests_Sleep()
    {
        string[] sleeping =
        [
            .. Repository.Files(".cs").Where(file => file.StartsWith("tests/", StringComparison.Ordinal)
                && Delay().IsMatch(CSharpText.Split(Repository.Read(file)).Code)),
        ];
        Assert.Equal(s_allowed.Keys.Order(StringComparer.Ordinal), sleeping.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("await Task.Delay(5, token);", true)]
    [InlineData("await Task.Delay(pace, TimeProvider.System);", true)]
    [InlineData("Thread.Sleep(1);", true)]
    [InlineData("await Task.Delay(pace, _clock, token);", false)]
    [InlineData("await Task.Delay(Timeout.Infinite, token);", false)]
    public void Sleep_IsRecognized(string code, bool expected) => Assert.Equal(expected, Delay().IsMatch(code));

    // An endless delay stands for something that hangs, and a delay by a clock for something in that clock's time.
    [GeneratedRegex(@"Thread\.Sleep\(|Task\.Delay\((?!Timeout\.Infinite|[^;]*[cC]lock\b)")]
    private static partial Regex Delay();
}
