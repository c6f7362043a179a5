// Goal: a run that is stopped, killed or damaged ends with the same weights as an uninterrupted one, and reports what
// it did. Method: toy stages of twenty steps; a kill is a copy of the folder as it was at that moment.
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Training;
using TorchSharp;
using Xunit;

namespace Atelier.Model.Tests.Training.Runs;

public sealed class StageLoopTests : IDisposable
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
        using (var run = new StageState(config, ToyStage.Data, _ => { }))
        {
            Assert.All(run.Network.parameters(), parameter => Assert.Equal(compute, parameter.dtype));
        }

        Assert.Equal(Enumerable.Range(0, ToyStage.Steps).Select(i => (long)i), ToyStage.Recorded(config.Folder));
        Assert.Equal(
            File.ReadAllBytes(folder["whole/" + StageResult.FileName]),
            File.ReadAllBytes(folder["parts/" + StageResult.FileName]));
    }

    [Fact]
    public void DataThatChanges_StopsTheRun_WithACheckpointOfTheStepsBefore()
    {
        using var folder = new TemporaryFolder();
        string whole = ToyStage.Run(ToyStage.Config(folder["whole"]));
        StageConfig config = ToyStage.Config(folder["run"]);
        int read = 0;
        var data = new ToyStage.SpoiledData(ToyStage.Data, _ => ++read <= 8 * config.StepSettings.GlobalBatch
            ? null : throw new RefusedFileException("shard.00003.mds", "file", "has changed."));
        RefusedFileException refusal = Assert.Throws<RefusedFileException>(() => ToyStage.Run(config, data: data));
        Assert.Equal("shard.00003.mds", refusal.File);
        Assert.Equal(8, CheckpointStore.NewestStep(config.Folder));
        Assert.Equal(whole, ToyStage.Run(config));
    }

    [Fact]
    public void Run_KilledAtEveryStep_EndsWithTheSameWeights()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["whole"]);
        using (var run = new StageState(config, ToyStage.Data, _ => { }))
        {
            StageLoop.Run(
                run, new LocalExchange(run.Engine),
                report => Copy(config.Folder, folder[$"reported-{report.Step}"]), CancellationToken.None,
                report => Copy(config.Folder, folder[$"killed-{report.Step}"]));
        }

        string whole = ToyStage.Run(config);
        for (int step = 0; step < ToyStage.Steps; step++)
        {
            StageConfig killed = ToyStage.Config(folder[$"killed-{step}"]);
            Assert.Equal(whole, ToyStage.Run(killed));
            Assert.Equal(ToyStage.Steps, ToyStage.Recorded(killed.Folder).Length);

            // Killed as a step is reported, the run resumes at that step or before, and reports it again.
            using var reported = new StageState(ToyStage.Config(folder[$"reported-{step}"]), ToyStage.Data, _ => { });
            Assert.InRange(reported.Position.Step, 0, step);
        }
    }

    // The loop does not know who computes a batch's shards.
    [Fact]
    public void Run_OverAnExchangeOfSeveralWorkers_EndsWithTheSameWeights()
    {
        using var folder = new TemporaryFolder();
        string whole = ToyStage.Run(ToyStage.Config(folder["whole"]));
        StageConfig config = ToyStage.Config(folder["dealt"]);
        using var stage = new StageState(config, ToyStage.Data, _ => { });
        var exchange = new DealtExchange(stage.Engine, config.StepSettings.Shards, workers: 3);
        StageLoop.Run(stage, exchange, _ => { }, CancellationToken.None);
        Assert.Equal(whole, stage.WeightsDigest());
    }

    [Fact]
    public void Run_MadeLonger_HasNoResult_UntilItEndsAgain()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["longer"]);
        ToyStage.Run(config);
        string result = folder["longer/" + StageResult.FileName];
        byte[] first = File.ReadAllBytes(result);
        ToyStage.Run(config with { Steps = ToyStage.Steps + 9 }, 3);
        Assert.False(File.Exists(result));
        StageConfig shortened = config with { Steps = ToyStage.Steps + 3 };
        using (var run = new StageState(shortened, ToyStage.Data, _ => { }))
        {
            Assert.False(run.IsComplete);
        }

        ToyStage.Run(shortened);
        Assert.NotEqual(first, File.ReadAllBytes(result));
    }

    [Fact]
    public void Checkpoint_CutShort_IsReported_AndTheOneBeforeIsUsed()
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

        List<string> remarks = [];
        Assert.Equal(whole, ToyStage.Run(config, remarks: remarks));
        Assert.Contains(Path.GetFileName(newest), Assert.Single(remarks));
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
        Assert.Contains("is of another run: seed is 7 there and 8 here.", error.Message);
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
        Assert.Contains($"set model.dtype={name} to resume it", error.Message);
        Assert.Equal(before, Directory.GetFiles(config.Folder));
        Assert.Equal(ToyStage.Run(ToyStage.Config(folder["whole"], first)), ToyStage.Run(config));
    }

    [Theory]
    [InlineData(float.NaN, false, "latents", "NaN")]
    [InlineData(float.PositiveInfinity, false, "latents", "infinity")]
    [InlineData(float.NegativeInfinity, true, "caption_latents", "-infinity")]
    public void NonFiniteSample_IsNamed_AndAffectsNoOther(
        float value, bool isCaption, string column, string name)
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample is 3 or 8 ? value : null, isCaption);
        List<string> remarks = [];
        string whole = ToyStage.Run(config with { Folder = folder["whole"] }, data: data, remarks: remarks);
        Assert.Equal(
            [$"sample 3: {column} holds {name}", $"sample 8: {column} holds {name}"],
            remarks.Select(text => text.Split(';')[0]).Order());
        for (int stop = 1; stop <= 3; stop++)
        {
            ToyStage.Run(config, 5, data);
        }

        Assert.Equal(whole, ToyStage.Run(config, data: data));
        using var run = new StageState(config, data, _ => { });
        using var once = new StageState(config with { Folder = folder["whole"] }, data, _ => { });
        Assert.Equal((20, 0, 0), (run.Position.Applied, run.Position.Skipped, run.Position.Undone));
        Assert.Empty(run.Position.Ledger);
        Assert.Equal(2, run.LeftOut.Samples.Count);
        Assert.All(run.LeftOut.Samples, sample => Assert.Equal((column, name), (sample.Column, sample.Value)));
        Assert.InRange(run.LeftOut.Times, 48, 50); // 320 samples are 24.6 epochs of 13, and each holds both.
        Assert.Equal(run.LeftOut.Times, run.LeftOut.Samples.Sum(sample => sample.Times));
        Assert.Equal(once.LeftOut.Samples, run.LeftOut.Samples);
        string report = File.ReadAllText(Path.Combine(config.Folder, TrainingReport.FileName));
        Assert.Contains("| batches applied | 20 of 20, 16 pictures each |", report);
        Assert.Contains($"| samples left out of batches | {run.LeftOut.Times} |", report);
        Assert.Contains($"| sample 3 | {column} | {name} | ", report);
        Assert.DoesNotContain("NaN", File.ReadAllText(Path.Combine(config.Folder, "loss.svg")));
    }

    // Left-out samples must not affect data without any: the checkpoint of sound data does not mention them.
    [Fact]
    public void Checkpoint_OfSoundData_SaysNothingOfSamplesLeftOut()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        ToyStage.Run(config, 6);
        using SafeTensorsFile file = SafeTensorsFile.Open(folder["run/step-000000006.safetensors"]);
        Assert.Matches("""^{"Step":6,"Updates":6,"Memory":{[^}]*},"Ledger":\[\]}$""", file.Metadata["position"]);
    }

    [Fact]
    public void Run_WithoutAFiniteSample_EndsSoon_AndNamesTheData_NotTheLearningRate()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        var data = new ToyStage.SpoiledData(ToyStage.Data, _ => float.NaN);
        for (int time = 0; time < 2; time++)
        {
            var error = Assert.Throws<TrainingFailedException>(() => ToyStage.Run(config, data: data));
            Assert.Contains("the last 9 batches, up to step 8, have no sample that can be trained on.", error.Message);
            Assert.Contains(": latents holds NaN", error.Message);
            Assert.DoesNotContain("learning rate", error.Message);
        }

        Assert.False(File.Exists(folder["run/" + StageResult.FileName]));
    }

    [Theory]
    [InlineData(2, "only ", " of 20 batches were applied")] // Most batches of two have no sound sample.
    [InlineData(16, "of 320 samples were left out", "a stage needs at least half of them")]
    public void Run_ThatLeftMostOut_HasFailed_HoweverOftenItIsStarted(int batch, params string[] says)
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        config = config with
        {
            StepSettings = config.StepSettings with { Shards = 1, Microbatch = batch },
            Policy = new StepPolicy { Patience = 1000 },
        };
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample < 11 ? float.NaN : null);
        for (int time = 0; time < 2; time++)
        {
            var error = Assert.Throws<TrainingFailedException>(() => ToyStage.Run(config, data: data));
            Assert.All(says, part => Assert.Contains(part, error.Message));
            Assert.Contains("latents holds NaN", error.Message);
            Assert.False(File.Exists(folder["run/" + StageResult.FileName]));
        }

        using var run = new StageState(config, data, _ => { });
        Assert.False(run.IsComplete);
        TrainingReport.Write(run);
        Assert.Contains(
            $"| batches applied | {run.Position.Applied} of 20, {batch} pictures each |",
            File.ReadAllText(Path.Combine(config.Folder, TrainingReport.FileName)));
        Assert.Equal(batch == 2, run.Position.Applied < 10);
    }

    [Fact]
    public void Report_OfARunWithoutANumber_IsWrittenAllTheSame()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        ToyStage.Run(config, 3, new ToyStage.SpoiledData(ToyStage.Data, _ => float.NaN));
        string report = File.ReadAllText(Path.Combine(config.Folder, TrainingReport.FileName));
        Assert.Contains("| batches applied | 0 of 20, ", report);
        Assert.Contains("| batches skipped | 3 |", report);
        Assert.Contains("| loss, mean of the last 100 batches applied | none |", report);
        Assert.DoesNotContain(".svg", report);
    }

    // Finite numbers whose squares overflow: every sample's loss is infinite.
    [Fact]
    public void Run_ThatDiverges_RollsBack_AndEndsWithAMessage()
    {
        using var folder = new TemporaryFolder();
        StageConfig config =
            ToyStage.Config(folder["run"]) with { Policy = new StepPolicy { Patience = 1, ReturnsMax = 2 } };
        ToyStage.Run(config, 6);
        var data = new ToyStage.SpoiledData(ToyStage.Data, _ => 1e30f);
        List<string> remarks = [];
        var error = Assert.Throws<TrainingDivergedException>(() => ToyStage.Run(config, data: data, remarks: remarks));
        Assert.Contains("lower learning rate", error.Message);
        Assert.Equal(2, remarks.Count(text => text.Contains("rolled back", StringComparison.Ordinal)));
    }

    [Fact]
    public void Run_ThatNeverMadeAnUpdate_DoesNotBlameTheLearningRate()
    {
        using var folder = new TemporaryFolder();
        var data = new ToyStage.SpoiledData(ToyStage.Data, _ => 1e30f);
        var error = Assert.Throws<TrainingDivergedException>(
            () => ToyStage.Run(ToyStage.Config(folder["run"]), data: data));
        Assert.Contains("no update was made so far", error.Message);
        Assert.DoesNotContain("learning rate", error.Message);
    }

    [Fact]
    public void Run_ThatOneSampleSpoils_NamesIt_AndDoesNotBlameTheLearningRate()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]) with { Policy = new StepPolicy { Patience = 1 } };
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample == 4 ? 1e30f : null);
        List<string> remarks = [];
        var error = Assert.Throws<TrainingDivergedException>(() => ToyStage.Run(config, data: data, remarks: remarks));
        Assert.Contains("sample 4 alone has a loss of ", error.Message);
        Assert.DoesNotContain("learning rate", error.Message);
        Assert.NotEmpty(remarks);
        Assert.All(remarks, text => Assert.Contains("sample 4 alone has a loss of ", text));
    }

    [Fact]
    public void Stage_WhoseStartHoldsNaN_IsRefused()
    {
        using var folder = new TemporaryFolder();
        StageConfig first = ToyStage.Config(folder["first"]);
        ToyStage.Run(first);
        string result = folder["first/" + StageResult.FileName];
        byte[] bytes = File.ReadAllBytes(result);
        BitConverter.GetBytes(float.NaN).CopyTo(bytes, bytes.Length - 4);
        File.WriteAllBytes(result, bytes);
        StageConfig second =
            ToyStage.Config(folder["second"]) with { Start = new StageStart(first.Folder, Average: true) };
        Assert.Contains(
            "holds a NaN or an infinity",
            Assert.Throws<RefusedFileException>(() => new StageState(second, ToyStage.Data, _ => { })).Message);
    }

    [Fact]
    public void Report_OfARunThatRolledBack_CountsNoBatchThatWasUndone()
    {
        using var folder = new TemporaryFolder();
        StageConfig config = ToyStage.Config(folder["run"]);
        config = config with
        {
            StepSettings = config.StepSettings with { Shards = 1, Microbatch = 2 },
            SaveInterval = 4,
            Policy = new StepPolicy { Patience = 1, ReturnsMax = 20 },
        };
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample is 2 or 3 ? 1e30f : null);
        ToyStage.Run(config, data: data);
        using var run = new StageState(config, data, _ => { });
        Assert.True(run.Position.Undone > 0, "the run did not go back over a batch that was applied");
        Assert.Equal(20, run.Position.Applied + run.Position.Skipped + run.Position.Undone);
        IEnumerable<long> missing = run.Position.Ledger.Select(slice => slice.Step);
        Assert.Equal(missing.Distinct().Order(), missing);
        string report = File.ReadAllText(Path.Combine(config.Folder, TrainingReport.FileName));
        Assert.Contains($"| batches applied | {run.Position.Applied} of 20, ", report);
        Assert.Contains($"| batches skipped | {run.Position.Skipped} |", report);
        Assert.Contains($"| batches undone by rollbacks | {run.Position.Undone} |", report);
        Assert.Equal(run.Engine.Master.Optimizer.Updates, run.Position.Applied);
    }

    // The checkpoint that a run rolls back to must not depend on where it was stopped or killed before.
    [Fact]
    public void RunThatRollsBack_StoppedOrKilledAtEveryStep_EndsWithTheSameWeightsAndLedger()
    {
        using var folder = new TemporaryFolder();
        var data = new ToyStage.SpoiledData(ToyStage.Data, sample => sample is 2 or 3 ? 1e30f : null);
        StageConfig whole = Config("whole");
        ToyStage.Run(whole, data: data);
        string expected = Result(whole);
        Assert.Contains("rolled back", expected);
        StageConfig stopped = Config("stopped");
        for (int step = 0; step < ToyStage.Steps; step++)
        {
            ToyStage.Run(stopped, 1, data);
        }

        Assert.Equal(expected, Result(stopped));
        using (var run = new StageState(Config("followed"), data, _ => { }))
        {
            StageLoop.Run(
                run, new LocalExchange(run.Engine),
                _ => { }, CancellationToken.None, report => Copy(folder["followed"], folder[$"killed-{report.Step}"]));
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
                StepSettings = config.StepSettings with { Shards = 1, Microbatch = 2 },
                SaveInterval = 4,
                Policy = new StepPolicy { Patience = 1, ReturnsMax = 20 },
            };
        }

        string Result(StageConfig config)
        {
            using var run = new StageState(config, data, _ => { });
            Assert.True(run.IsComplete);
            return string.Join('\n', run.Position.Ledger.Select(slice => $"{slice}").Prepend(run.WeightsDigest()));
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
            return
            [
                .. Directory.GetFiles(config.Folder, "st?p-*").Select(Path.GetFileNameWithoutExtension).Order(
                    StringComparer.Ordinal)!,
            ];
        }
    }

    [Fact]
    public void Stage_ThatHasBegun_DoesNotNeedTheOneBefore()
    {
        using var folder = new TemporaryFolder();
        StageConfig first = ToyStage.Config(folder["first"]);
        ToyStage.Run(first);
        StageConfig second = ToyStage
            .Config(folder["second"]) with
        { Name = "second", Start = new StageStart(first.Folder, Average: true) };
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
            Network = network,
            Start = new StageStart(first.Folder, Average: true),
        };
        using var run = new StageState(second, new ToyData(13, network), _ => { });
        using IWeightSource source = WeightFile.Open(Path.Combine(first.Folder, StageResult.FileName));
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

    // Shards are dealt to workers at random, and their partial sums are merged in a different order each time.
    private sealed class DealtExchange(TrainingEngine engine, int shards, int workers) : IGradientExchange
    {
        private readonly Random _random = new(5);

        public GradientSum Sum(long step)
        {
            ReductionTree<GradientSum>[] trees = [.. Enumerable.Range(0, workers).Select(_ => Tree())];
            int[] order = [.. Enumerable.Range(0, shards)];
            _random.Shuffle(order);
            foreach (int shard in order)
            {
                trees[_random.Next(workers)].Add(shard, engine.ComputeShard(step, shard));
            }

            (TreeNode Node, GradientSum Sum)[] partials = [.. trees.SelectMany(tree => tree.Partials)];
            _random.Shuffle(partials);
            ReductionTree<GradientSum> whole = Tree();
            foreach ((TreeNode node, GradientSum sum) in partials)
            {
                whole.Add(node, sum);
            }

            return whole.Total!;
        }

        private ReductionTree<GradientSum> Tree() => new(shards, GradientSum.Merge);
    }
}
