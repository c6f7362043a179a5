// Goal: a run resumes only from a checkpoint of the same identity, and a refusal names every part that differs, with
// both values. Method: one identity, and copies that differ in one part.
using System.Text.Json;
using Xunit;

namespace Atelier.Training.Tests;

public sealed class RunIdentityTests
{
    private static readonly RunIdentity s_run = new()
    {
        Stage = "toy",
        Network = """{"dim":32,"depth":4,"ratios":[0.5,1]}""",
        Seed = ulong.MaxValue,
        Batch = 64,
        Shards = 8,
        ThreadsPerShard = 1,
        Precision = "float32",
        MaskRatio = 0.75,
        LatentColumn = "latents_64",
        Samples = 13,
        Data = "ab12",
        OrderVersion = 1,
        Device = "cpu-a",
    };

    public static TheoryData<RunIdentity, string> Others => new()
    {
        { s_run with { Stage = "other" }, "exp_name is other there and toy here" },
        {
            s_run with { Network = """{"dim":64,"depth":4,"ratios":[0.5,1]}""" },
            "the network's dim is 64 there and 32 here"
        },
        {
            s_run with { Network = """{"dim":32,"ratios":[0.5,1]}""" },
            "the network's depth is absent there and 4 here"
        },
        {
            s_run with { Network = """{"dim":32,"depth":4,"ratios":[0.5,2]}""" },
            "the network's ratios is [0.5,2] there and [0.5,1] here"
        },
        { s_run with { Seed = 0 }, "seed is 0 there and 18446744073709551615 here" },
        { s_run with { Batch = 32 }, "dataset.train_batch_size is 32 there and 64 here" },
        { s_run with { Shards = 4 }, "trainer.shards is 4 there and 8 here" },
        { s_run with { ThreadsPerShard = 2 }, "trainer.threads_per_shard is 2 there and 1 here" },
        { s_run with { Precision = "bfloat16" }, "model.dtype is bfloat16 there and float32 here" },
        { s_run with { MaskRatio = 0 }, "model.train_mask_ratio is 0 there and 0.75 here" },
        { s_run with { LatentColumn = "x" }, "dataset.latents_column is x there and latents_64 here" },
        { s_run with { Samples = 14 }, "the number of samples is 14 there and 13 here" },
        { s_run with { Data = "" }, "the digest of the data's index files is empty there and ab12 here" },
        { s_run with { Streams = "5 of 4" }, "dataset.train.streams is 5 of 4 there and absent here" },
        { s_run with { OrderVersion = 2 }, "the version of the sample order is 2 there and 1 here" },
        { s_run with { Device = "cpu-b" }, "the kind of device is cpu-b there and cpu-a here" },
    };

    [Theory]
    [MemberData(nameof(Others))]
    public void AnyPartThatDiffers_RefusesTheCheckpoint_AndIsNamedWithBothValues(RunIdentity stored, string sentence)
    {
        Assert.NotEqual(s_run, stored);
        Assert.Equal(sentence, Assert.Single(s_run.Differences(stored)));
        Assert.Null(s_run.Continue(stored, takesOtherDevices: false, out IReadOnlyList<string> differences));
        Assert.Equal(sentence, Assert.Single(differences));
    }

    // Earlier releases read the identity of a run without streams.
    [Fact]
    public void Streams_AreWrittenOnlyIfThereAreAny()
    {
        Assert.DoesNotContain("streams", s_run.ToJson());
        RunIdentity mixed = s_run with { Streams = "5 of 4" };
        Assert.Equal(mixed, RunIdentity.Parse(mixed.ToJson()));
    }

    [Fact]
    public void TwoPartsThatDiffer_AreBothNamed() => Assert.Equal(
        ["seed is 3 there and 18446744073709551615 here", "trainer.shards is 2 there and 8 here"],
        s_run.Differences(s_run with { Seed = 3, Shards = 2 }));

    [Fact]
    public void OwnCheckpoint_IsContinued_AsTheSameRun()
    {
        foreach (bool takesOthers in new[] { false, true })
        {
            Assert.Equal(s_run, s_run.Continue(RunIdentity.Parse(s_run.ToJson()), takesOthers, out var differences));
            Assert.Empty(differences);
        }

        Assert.False(s_run.IsMixed);
    }

    // Every later checkpoint must record that several kinds of devices have trained the run.
    [Fact]
    public void MixedRun_RemembersAllKindsOfDevices_AndNeedsConsentEachTime()
    {
        RunIdentity second = s_run with { Device = "cpu-b" };
        RunIdentity mixed = second.Continue(s_run, takesOtherDevices: true, out _)!;
        Assert.True(mixed.IsMixed);
        Assert.Equal("cpu-a, cpu-b", mixed.Device);
        Assert.Equal(mixed, s_run.Continue(mixed, takesOtherDevices: true, out _));
        Assert.Equal(mixed, mixed.Continue(s_run, takesOtherDevices: true, out _)); // A rollback to before the mix.
        Assert.Null(s_run.Continue(mixed, takesOtherDevices: false, out IReadOnlyList<string> differences));
        Assert.Equal("the kind of device is cpu-a, cpu-b there and cpu-a here", Assert.Single(differences));
        Assert.Null(second.Continue(s_run with { Seed = 3 }, takesOtherDevices: true, out differences));
        Assert.Equal("seed is 3 there and 18446744073709551615 here", Assert.Single(differences));
    }

    [Fact]
    public void Json_IsRefused_WhenAPartIsMissingUnknownOrNull()
    {
        string json = s_run.ToJson();
        Assert.DoesNotContain('\n', json);
        foreach (string wrong in new[]
        {
            "null", "[]", "{}", json.Replace("\"shards\":8,", "", StringComparison.Ordinal),
            json.Replace("\"shards\":8,", "\"shards\":8,\"colour\":1,", StringComparison.Ordinal),
            json.Replace("\"cpu-a\"", "null", StringComparison.Ordinal),
            json.Replace("\"shards\":8", "\"shards\":\"8\"", StringComparison.Ordinal),
        })
        {
            Assert.NotEqual(json, wrong);
            Assert.Throws<JsonException>(() => RunIdentity.Parse(wrong));
        }
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("[1]")]
    public void DamagedNetwork_Differs_AndDoesNotThrow(string network) => Assert.Contains(
        $"the network is {network} there and absent here", s_run.Differences(s_run with { Network = network }));

    [Fact]
    public void LongValues_AreCutShort()
    {
        string sentence = Assert.Single(s_run.Differences(s_run with { Stage = new string('x', 5000) }));
        Assert.InRange(sentence.Length, 80, 150);
    }
}
