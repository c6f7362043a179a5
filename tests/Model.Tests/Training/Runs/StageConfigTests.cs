// Goal: the number of shards is a key of its own, older files keep what they had, and the shipped stages have the
// numbers that their documentation states.
using System.Runtime.CompilerServices;
using Atelier.Model.Training.Runs;
using Xunit;

namespace Atelier.Model.Tests.Training.Runs;

public sealed class StageConfigTests
{
    private const string Micro = "trainer.device_train_microbatch_size=";

    [Theory]
    [InlineData("shapes", 8, 8, 8, 8)]
    [InlineData("micro_dit", 64, 64, 64, 128)]
    public void ShippedStages_HaveTheirShards_AndOneThreadForEach(string folder, params int[] shards)
    {
        string[] files = [.. Directory.GetFiles(InRepository($"configs/{folder}"), "*.yaml").Order()];
        StageConfig[] stages = [.. files.Select(file => StageConfig.Read(file, []))];
        Assert.Equal(shards, stages.Select(stage => stage.StepSettings.Shards));
        Assert.All(stages, stage =>
        {
            Assert.Equal(1, stage.StepSettings.ThreadsPerShard);
            Assert.False(stage.TakesOtherDevices);
            Assert.Contains("trainer.threads_per_shard: 1 (default)", stage.Lines);
        });
    }

    [Theory]
    [InlineData("trainer.shards=4", 4, 16)]
    [InlineData("trainer.shards=1", 1, 64)]
    [InlineData("trainer.shards=64", 64, 1)]
    [InlineData("trainer.shards=4," + Micro + "16", 4, 16)]
    [InlineData("trainer.shards=null," + Micro + "32", 2, 32)] // A file of an earlier release.
    [InlineData("trainer.shards=null," + Micro + "64", 1, 64)]
    public void Shards_AreGivenOrFollowFromTheMicrobatch(string changes, int shards, int size)
    {
        StageConfig stage = Read(changes);
        Assert.Equal((shards, size), (stage.StepSettings.Shards, stage.StepSettings.Microbatch));
    }

    [Theory]
    [InlineData("trainer.shards=3", "trainer.shards: is 3; it must be a power of two that divides the 64 samples of ")]
    [InlineData("trainer.shards=128", "trainer.shards: is 128; it must be a power of two that divides the 64 ")]
    [InlineData("trainer.shards=0", "trainer.shards: is 0; it must be an integer from 1 to ")]
    [InlineData(
        "trainer.shards=8," + Micro + "32",
        "is 32, but 64 samples in 8 shards (trainer.shards) are 8 each; leave out one of the two keys")]
    [InlineData(
        "trainer.shards=null," + Micro + "24",
        "is 24; the 64 samples of a batch must be a power of two times this number")]
    [InlineData("trainer.shards=null", "trainer.shards: is missing")]
    [InlineData("trainer.threads_per_shard=0", "is 0; it must be an integer from 1 to 1024")]
    [InlineData("trainer.mixed=perhaps", "is perhaps; it must be one of true, false")]
    public void WrongNumbers_AreRefused_WithWhatWouldBeRight(string changes, string says) =>
        Assert.Contains(says, Assert.Throws<RefusedFileException>(() => Read(changes)).Message);

    // The file's own shards are removed if a change sets them to null.
    private static StageConfig Read(string changes)
    {
        using var folder = new TemporaryFolder();
        string file = folder["stage.yaml"];
        string text = File.ReadAllText(InRepository("configs/shapes/1_res_64_pretrain.yaml"));
        string[] each = changes.Split(',');
        bool isRemoved = each.Contains("trainer.shards=null");
        File.WriteAllText(file, isRemoved ? text.Replace("  shards: 8\n", "", StringComparison.Ordinal) : text);
        return StageConfig.Read(file, each.Where(change => change != "trainer.shards=null"));
    }

    private static string InRepository(string path, [CallerFilePath] string file = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../../../..", path));
}
