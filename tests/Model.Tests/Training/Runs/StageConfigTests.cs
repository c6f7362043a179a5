// Goal: the number of shards is a key of its own, older files keep what they had, and the shipped stages have the
// numbers that their documentation states.
using System.Runtime.CompilerServices;
using Atelier.Model.Training.Runs;
using Atelier.Training;
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
    [InlineData("panel.max_drop=1", "panel.max_drop: needs a score: set panel.score to clip")]
    [InlineData("panel.score=best", "is best; it must be one of none, clip")]
    [InlineData("trainer.mixed=perhaps", "is perhaps; it must be one of true, false")]
    public void WrongNumbers_AreRefused_WithWhatWouldBeRight(string changes, string says) =>
        Assert.Contains(says, Assert.Throws<RefusedFileException>(() => Read(changes)).Message);

    [Fact]
    public void Panels_AreBounded()
    {
        Assert.Equal(64, Panel(Enumerable.Repeat("a", 64)).Panel!.Prompts.Count);
        Refused(Enumerable.Repeat("a", 65), "panel.prompts: has 65 prompts; a panel has at most 64");
        Refused([new string('a', 2001)], "panel.prompts: has a prompt of 2001 characters; each has 1 to 2000");

        static void Refused(IEnumerable<string> prompts, string says) =>
            Assert.Contains(says, Assert.Throws<RefusedFileException>(() => Panel(prompts)).Message);

        static StageConfig Panel(IEnumerable<string> prompts) =>
            Read($"panel.prompts={string.Join(' ', prompts)}".Replace(' ', ','), split: false);
    }

    [Fact]
    public void Streams_AreReadWithTheirParts()
    {
        StageConfig stage = ReadStreams("- {datadir: a, proportion: 0.25}\n- {datadir: b, proportion: 0.75}");
        Assert.Equal(["a", "b"], stage.DataFolders);
        Assert.Equal(
            new StreamShare[] { new(StreamShareKind.Proportion, 0.25), new(StreamShareKind.Proportion, 0.75) },
            stage.Shares);
        stage = ReadStreams(
            "- datadir: a\n  repeat: 2.5\n- datadir: b\n  choose: 1_000\n- datadir: c",
            "dataset.train.streams.0.datadir=/full/a", "dataset.train.streams.3.datadir=d");
        Assert.Equal(["/full/a", "b", "c", "d"], stage.DataFolders);
        Assert.Equal(
            new StreamShare[]
            {
                new(StreamShareKind.Repeat, 2.5), new(StreamShareKind.Choose, 1000), StreamShare.Whole,
                StreamShare.Whole,
            },
            stage.Shares);
        Assert.Equal(
            [("dataset.train.streams.0.datadir", "/full/a"), ("dataset.train.streams.1.datadir", "b")],
            stage.DataKeys.Take(2).Select(one => (one.Key, one.Folders.Single())));
        Assert.Equal("dataset.train.datadir", Assert.Single(Read("trainer.shards=4").DataKeys).Key);
    }

    [Theory]
    [InlineData(
        "- {datadir: a, repeat: 1, choose: 5}",
        "streams.0.choose: is given beside repeat; a stream has one of proportion, repeat and choose")]
    [InlineData("- {datadir: a, proportion: 0.5}\n- {datadir: b}", "has streams with and without a proportion")]
    [InlineData(
        "- {datadir: a, proportion: 0.5}\n- {datadir: b, proportion: 0.4}",
        "has proportions whose sum is 0.9; it must be 1")]
    [InlineData("- {datadir: a, proportion: 1.5}", "streams.0.proportion: is 1.5; it must be a number from ")]
    [InlineData("- {datadir: a, repeat: 0}", "streams.0.repeat: is 0; it must be a number from ")]
    [InlineData("- {datadir: a, choose: 1.5}", "streams.0.choose: is 1.5; it must be an integer from 1 to ")]
    [InlineData("- {datadir: a, weight: 1}", "streams.0.weight: is not a key of a training stage; did you mean ")]
    [InlineData("- {repeat: 2}", "dataset.train.streams.0.datadir: is missing")]
    [InlineData("- {}", "dataset.train.streams.0.datadir: is missing")]
    [InlineData("- a", "dataset.train.streams: is not a key of a training stage")]
    [InlineData("- a\n- {datadir: b}", "must be a string, a list of strings, a mapping or a list of mappings")]
    public void WrongStreams_AreRefused_WithWhatWouldBeRight(string streams, string says) =>
        Assert.Contains(says, Assert.Throws<RefusedFileException>(() => ReadStreams(streams)).Message);

    [Fact]
    public void StreamsBesideFolders_AreRefused() => Assert.Contains(
        "dataset.train.streams: is given beside dataset.train.datadir; leave out one of the two",
        Assert.Throws<RefusedFileException>(
            () => ReadStreams("- {datadir: a}", "dataset.train.datadir=b")).Message);

    private static StageConfig ReadStreams(string streams, params string[] changes)
    {
        string text = File.ReadAllText(InRepository("configs/shapes/1_res_64_pretrain.yaml"));
        const string folders = "    datadir:\n      - runs/shapes/latents\n";
        Assert.Contains(folders, text);
        string list = "    streams:\n" + string.Concat(streams.Split('\n').Select(line => $"      {line}\n"));
        return StageConfig.Parse("stage.yaml", text.Replace(folders, list), changes);
    }

    // The file's own shards are removed if a change sets them to null.
    private static StageConfig Read(string changes, bool split = true)
    {
        using var folder = new TemporaryFolder();
        string file = folder["stage.yaml"];
        string text = File.ReadAllText(InRepository("configs/shapes/1_res_64_pretrain.yaml"));
        string[] each = split ? changes.Split(',') : [changes];
        bool isRemoved = each.Contains("trainer.shards=null");
        File.WriteAllText(file, isRemoved ? text.Replace("  shards: 8\n", "", StringComparison.Ordinal) : text);
        return StageConfig.Read(file, each.Where(change => change != "trainer.shards=null"));
    }

    private static string InRepository(string path, [CallerFilePath] string file = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../../../..", path));
}
