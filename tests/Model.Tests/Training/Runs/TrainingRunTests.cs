// Goal: a run that is stopped, killed or damaged ends with the same weights as one left alone, and says what it did.
// Method: toy stages of twenty steps; a kill is a copy of the folder as it was at that moment.
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using TorchSharp;
using Xunit;

namespace Atelier.Model.Tests.Training.Runs;

public sealed class TrainingRunTests : IDisposable
{
    private readonly int _threadsBefore = torch.get_num_threads();

    public void Dispose() => torch.set_num_threads(_threadsBefore);

    // With two threads the shards of a batch are computed two at a time.
    [Theory]
    [InlineData(torch.ScalarType.Float32, 1)]
    [InlineData(torch.ScalarType.Float32, 2)]
    [InlineData(torch.ScalarType.BFloat16, 1)]
    [InlineData(torch.ScalarType.BFloat16, 2)]
    public void Run_StoppedAnywhere_EndsWithTheSameWeights(torch.ScalarType compute, int threads)
    {
        torch.set_num_threads(threads);
        using var folder = new TemporaryFolder();
        string whole = ToyStage.Run(ToyStage.Config(folder["whole"], compute));
        StageConfig config = ToyStage.Config(folder["parts"], compute);
        string last = "";
        foreach (int steps in new[] { 1, 2, 5, 7, int.MaxValue })
        {
            Assert.NotEqual(whole, last);
            last = ToyStage.Run(config, steps);
        }

        Assert.Equal(whole, last);
        Assert.Contains(
            compute == torch.ScalarType.Float32 ? "| precision | float32 |" : "| precision | bfloat16 |",
            File.ReadAllText(folder["parts/" + TrainingReport.FileName]));
        using (var run = new TrainingRun(config, ToyStage.Data, _ => { }))
        {
            Assert.All(run.Network.parameters(), parameter => Assert.Equal(compute, parameter.dtype));
        }

        Assert.Equal(Enumerable.Range(0, ToyStage.Steps).Select(i => (long)i), ToyStage.Recorded(config.Folder));
        Assert.Equal(
            File.ReadAllBytes(folder["whole/" + TrainingRun.ResultFile]), File.ReadAllBytes(folder["parts/" + TrainingRun.ResultFile]));
    }

    [Fact]
    public void Run_KilledAtEveryStep_EndsWithTheSameWeights()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["whole"]);
        using (var run = new TrainingRun(config, ToyStage.Data, _ => { }))
        {
            run.Run(report => Copy(config.Folder, folder[$"killed-{report.Step}"]), CancellationToken.None);
        }

        string whole = ToyStage.Run(config);
        for (int step = 0; step < ToyStage.Steps; step++)
        {
            StageConfig killed = ToyStage.Config(folder[$"killed-{step}"]);
            Assert.Equal(whole, ToyStage.Run(killed));
            Assert.Equal(ToyStage.Steps, ToyStage.Recorded(killed.Folder).Length);
        }
    }

    [Fact]
    public void Run_MadeLonger_HasNoResult_UntilItEndsAnew()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["longer"]);
        ToyStage.Run(config);
        string result = folder["longer/" + TrainingRun.ResultFile];
        byte[] first = File.ReadAllBytes(result);
        ToyStage.Run(config with { Steps = ToyStage.Steps + 9 }, 3);
        Assert.False(File.Exists(result));
        StageConfig shortened = config with { Steps = ToyStage.Steps + 3 };
        using (var run = new TrainingRun(shortened, ToyStage.Data, _ => { }))
        {
            Assert.False(run.IsComplete);
        }

        ToyStage.Run(shortened);
        Assert.NotEqual(first, File.ReadAllBytes(result));
    }

    [Fact]
    public void Checkpoint_CutShort_GivesWayToTheOneBefore_WithAWord()
    {
        using var folder = new TemporaryFolder();
        string whole = ToyStage.Run(ToyStage.Config(folder["whole"]));
        StageConfig config = ToyStage.Config(folder["cut"]);
        ToyStage.Run(config, 14);
        string newest = Assert.Single(Directory.GetFiles(config.Folder, "stop-*.safetensors"));
        using (var file = new FileStream(newest, FileMode.Open))
        {
            file.SetLength(file.Length / 2);
        }

        List<string> told = [];
        Assert.Equal(whole, ToyStage.Run(config, told: told));
        Assert.Contains(Path.GetFileName(newest), Assert.Single(told));
        Assert.True(File.Exists(newest + ".set-aside"));
    }

    [Fact]
    public void Checkpoints_OfAnotherRun_AreRefused_AndStay()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        ToyStage.Run(config, 8);
        string[] before = Directory.GetFiles(config.Folder);
        RefusedFileException error = Assert.Throws<RefusedFileException>(() => ToyStage.Run(config with { Seed = 8 }));
        Assert.Contains("another network, seed or data", error.Message);
        Assert.Equal(before, Directory.GetFiles(config.Folder));
    }

    [Theory]
    [InlineData(torch.ScalarType.BFloat16, torch.ScalarType.Float32, "bfloat16")]
    [InlineData(torch.ScalarType.Float32, torch.ScalarType.BFloat16, "float32")]
    public void Run_StoppedInOnePrecision_IsNotContinuedInAnother(
        torch.ScalarType first, torch.ScalarType second, string name)
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"], first);
        ToyStage.Run(config, 3);
        string[] before = Directory.GetFiles(config.Folder);
        RefusedFileException error = Assert.Throws<RefusedFileException>(
            () => ToyStage.Run(config with { Compute = second }));
        Assert.Contains($"a run that computes in {name}", error.Message);
        Assert.Contains($"with model.dtype={name} it goes on", error.Message);
        Assert.Equal(before, Directory.GetFiles(config.Folder));
        Assert.Equal(ToyStage.Run(ToyStage.Config(folder["whole"], first)), ToyStage.Run(config));
    }

    [Fact]
    public void Samples_ThatAreNoNumbers_AreSkipped_AndStandInTheLedger()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample == 3 ? float.NaN : null);
        StageConfig small = config with { Step = config.Step with { Shards = 1, Microbatch = 2 } };
        string whole = ToyStage.Run(small with { Folder = folder["whole"] }, data: data);
        ToyStage.Run(small, 9, data);
        Assert.Equal(whole, ToyStage.Run(small, data: data));
        using var run = new TrainingRun(small, data, _ => { });
        Assert.InRange(run.Ledger.Count, 2, 4); // Every epoch of 13 samples holds it once; 40 samples are seen.
        Assert.Contains("NaN", run.Ledger[0].Reason);
        Assert.Contains($"| {run.Ledger[0].Step} |", File.ReadAllText(Path.Combine(small.Folder, TrainingReport.FileName)));
    }

    [Fact]
    public void Run_ThatDiverges_GoesBack_AndEndsWithASentence()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]) with { Policy = new StepPolicy { Patience = 1, ReturnsMax = 2 } };
        ToyStage.Run(config, 6);
        var data = new ToyStage.SpoiledData(ToyStage.Data, _ => float.NaN);
        List<string> told = [];
        var error = Assert.Throws<TrainingDivergedException>(() => ToyStage.Run(config, data: data, told: told));
        Assert.Contains("lower learning rate", error.Message);
        Assert.Equal(2, told.Count(text => text.Contains("went back", StringComparison.Ordinal)));
    }

    // Where a run goes back to must not depend on where it was stopped or killed before.
    [Fact]
    public void RunThatGoesBack_StoppedOrKilledAtEveryStep_EndsWithTheSameWeightsAndLedger()
    {
        using var folder = new TemporaryFolder();
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample is 2 or 3 or 7 or 11 ? float.NaN : null);
        StageConfig whole = Config("whole");
        ToyStage.Run(whole, data: data);
        string expected = Result(whole);
        Assert.Contains("went back", expected);
        StageConfig stopped = Config("stopped");
        for (int step = 0; step < ToyStage.Steps; step++)
        {
            ToyStage.Run(stopped, 1, data);
        }

        Assert.Equal(expected, Result(stopped));
        using (var run = new TrainingRun(Config("followed"), data, _ => { }))
        {
            run.Run(report => Copy(folder["followed"], folder[$"killed-{report.Step}"]), CancellationToken.None);
        }

        for (int step = 0; step < ToyStage.Steps; step++)
        {
            ToyStage.Run(Config($"killed-{step}"), data: data);
            Assert.Equal(expected, Result(Config($"killed-{step}")));
        }

        StageConfig Config(string name)
        {
            StageConfig config = ToyStage.Config(folder[name]);
            return config with
            {
                Step = config.Step with { Shards = 1, Microbatch = 2 },
                SaveInterval = 4,
                Policy = new StepPolicy { Patience = 1, ReturnsMax = 20 },
            };
        }

        string Result(StageConfig config)
        {
            using var run = new TrainingRun(config, data, _ => { });
            Assert.True(run.IsComplete);
            return string.Join('\n', run.Ledger.Select(slice => $"{slice}").Prepend(run.WeightsDigest()));
        }
    }

    [Fact]
    public void Checkpoints_AreThoseOfThePlan_AndOneWhereTheRunStopped()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        Assert.Equal(["stop-000000005"], After(5));
        Assert.Equal(["step-000000006", "stop-000000008"], After(3));
        File.WriteAllText(folder["run/step-000000012.safetensors.0.partial"], "of a process that was killed");
        Assert.Equal(["step-000000006", "step-000000012", "stop-000000014"], After(6));
        Assert.Equal(["step-000000012", "step-000000018", "stop-000000020"], After(6));

        string[] After(int steps)
        {
            ToyStage.Run(config, steps);
            Assert.Empty(Directory.GetFiles(config.Folder, "*.partial"));
            return [.. Directory.GetFiles(config.Folder, "st?p-*").Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal)!];
        }
    }

    [Fact]
    public void Stage_ThatHasBegun_DoesNotNeedTheOneBefore()
    {
        using var folder = new TemporaryFolder();
        StageConfig first = ToyStage.Config(folder["first"]);
        ToyStage.Run(first);
        StageConfig second = ToyStage.Config(folder["second"]) with { Name = "second", Start = new StageStart(first.Folder, Average: true) };
        ToyStage.Run(second, 3);
        Directory.Delete(first.Folder, recursive: true);
        ToyStage.Run(second);
        Assert.Throws<RefusedFileException>(() => ToyStage.Run(second with { Folder = folder["third"] }));
    }

    [Fact]
    public void Stage_StartsFromTheLastOnesAverage_WithItsOwnPositions()
    {
        using var folder = new TemporaryFolder();
        StageConfig first = ToyStage.Config(folder["first"]);
        ToyStage.Run(first);
        MicroDiTConfig network = SmallNetworks.Tiny with { InputSize = 16, PosInterpScale = 2 };
        StageConfig second = ToyStage.Config(folder["second"]) with
        {
            Network = network, Start = new StageStart(first.Folder, Average: true),
        };
        using var run = new TrainingRun(second, new ToyData(13, network), _ => { });
        using IWeightSource source = WeightFile.Open(Path.Combine(first.Folder, TrainingRun.ResultFile));
        var parameter = run.Network.parameters().First();
        string name = run.Network.named_parameters().First().name;
        var stored = new byte[parameter.numel() * 4];
        source.ReadInto(name, stored);
        Assert.Equal(stored, parameter.detach().bytes.ToArray());
        Assert.Equal(network.Tokens, run.Network.get_buffer("pos_embed")!.shape[1]);
    }

    [Fact]
    public void Report_ShowsCurves()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        ToyStage.Run(config);
        string report = File.ReadAllText(Path.Combine(config.Folder, TrainingReport.FileName));
        Assert.Contains("![loss](loss.svg)", report);
        Assert.Contains("20 of 20", report);
        Assert.StartsWith("<svg", File.ReadAllText(Path.Combine(config.Folder, "loss.svg")));
        Assert.DoesNotContain("NaN", File.ReadAllText(Path.Combine(config.Folder, "loss.svg")));
    }

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.GetFiles(from))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }
    }
}
