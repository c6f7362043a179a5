// Goal: a checkpoint is resumed only by the run that wrote it, whatever differs is named, and checkpoints of earlier
// releases are resumed as before. Method: toy stages whose checkpoints are rewritten with other identities.
using System.Text.Json;
using Atelier.Model.Data.Mds;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Training;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Training;
using Xunit;

namespace Atelier.Model.Tests.Training.Runs;

public sealed class IdentityTests : IDisposable
{
    private const string Other = "cpu-other-device";

    // Computed by the release that wrote such checkpoints, for the toy stage.
    private const string EarlierDigest = "1ef73dc646a7091ad9223ff1d4ed1b43792ff62b1eee205a2aecc269bf6911ea";

    private readonly TemporaryFolder _folder = new();
    private readonly List<string> _remarks = [];

    private StageConfig Config => ToyStage.Config(_folder["run"]);

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void EveryPartOfTheConfigurationAndTheData_IsInTheIdentity()
    {
        ToyStage.Run(Config, 3);
        TrainingSettings step = Config.StepSettings;
        MicroDiTConfig heads = SmallNetworks.Tiny with { HeadDim = 16 };
        Refused(Config with { Name = "other" }, "exp_name is toy there and other here.");
        Refused(Config with { Seed = 8 }, "seed is 7 there and 8 here.");
        Refused(Config with { Network = heads }, "the network's head_dim is 8 there and 16 here.");
        Refused(
            Config with { StepSettings = step with { Shards = 4, Microbatch = 4 } },
            "trainer.shards is 8 there and 4 here.");
        Refused(
            Config with { StepSettings = step with { Shards = 16 } },
            "dataset.train_batch_size is 16 there and 32 here; trainer.shards is 8 there and 16 here.");
        Refused(
            Config with { StepSettings = step with { ThreadsPerShard = 2 } },
            "trainer.threads_per_shard is 1 there and 2 here.");
        Refused(
            Config with { StepSettings = step with { MaskRatio = 0.25 } },
            "model.train_mask_ratio is 0.5 there and 0.25 here.");
        Refused(
            Config with { LatentColumn = "latents_32" },
            "dataset.latents_column is latents_64 there and latents_32 here.");
        Refused(
            Config, "the number of samples is 13 there and 12 here.", new ToyData(12, SmallNetworks.Tiny));
        Refused(
            Config, "the digest of the data's index files is empty there and ab here.", new Listed(ToyStage.Data));
    }

    [Fact]
    public void OtherOrderVersion_IsRefused()
    {
        ToyStage.Run(Config, 3);
        Rewrite(identity => identity with { OrderVersion = 3 });
        Refused(Config, "the version of the sample order is 3 there and 2 here.");
    }

    [Fact]
    public void ARunBegunInTheEarlierOrder_KeepsIt()
    {
        StageConfig earlier = Config with { OrderVersion = SampleOrder.UniformVersion };
        string whole = ToyStage.Run(earlier with { Folder = _folder["whole"] });
        Assert.NotEqual(whole, ToyStage.Run(Config with { Folder = _folder["new"] }));
        ToyStage.Run(earlier, 3);
        ToyStage.Run(Config, 5);
        using (var damaged = new FileStream(_folder["run/stop-000000008.safetensors"], FileMode.Open))
        {
            damaged.SetLength(100);
        }

        Assert.Equal(whole, ToyStage.Run(Config, remarks: _remarks));
        Assert.Contains("The previous checkpoint is used.", Assert.Single(_remarks));
    }

    [Fact]
    public void OtherKindOfDevice_IsRefusedByName_AndTakenOnlyIfTheRunIsMixed()
    {
        ToyStage.Run(Config, 8);
        string own = Rewrite(identity => identity with { Device = Other }).Device;
        Refused(
            Config,
            $"the kind of device is {Other} there and {own} here; trainer.mixed=true resumes on another kind of "
            + "device, without guaranteeing bit-identical results.");

        // Other differences are still refused, and mixing is then not advised.
        StageConfig mixed = Config with { TakesOtherDevices = true };
        Refused(mixed with { Seed = 8 }, "seed is 7 there and 8 here.");

        ToyStage.Run(mixed, 5, remarks: _remarks);
        Assert.Contains($"several kinds of devices ({Other}, {own}; trainer.mixed)", Assert.Single(_remarks));
        Assert.Contains("bit-identical results are no longer guaranteed", _remarks[0]);
        Assert.Contains(
            $"| kind of device | {Other}, {own}; results may differ in bits (trainer.mixed) |",
            File.ReadAllText(Path.Combine(mixed.Folder, TrainingReport.FileName)));

        // The record stays in later checkpoints, although this device wrote them.
        Refused(Config, $"the kind of device is {Other}, {own} there and {own} here; trainer.mixed=true");
        ToyStage.Run(mixed);
        using SafeTensorsFile last = SafeTensorsFile.Open(_folder["run/step-000000018.safetensors"]);
        Assert.Equal($"{Other}, {own}", RunIdentity.Parse(last.Metadata["identity_parts"]).Device);
    }

    [Fact]
    public void RunOnOneKindOfDevice_SaysNothingOfMixing()
    {
        ToyStage.Run(Config with { TakesOtherDevices = true }, 3, remarks: _remarks);
        ToyStage.Run(Config, remarks: _remarks);
        Assert.Empty(_remarks);
        string report = File.ReadAllText(Path.Combine(Config.Folder, TrainingReport.FileName));
        Assert.Contains("| shards of a batch | 8, threads per shard: 1 |", report);
        Assert.Matches(@"\| kind of device \| cpu-[^ ,;]* \|", report);
    }

    [Fact]
    public void CheckpointOfAnEarlierRelease_IsResumed_AndSaysWhatIsNotKnown()
    {
        StageConfig earlier = Config with { OrderVersion = SampleOrder.UniformVersion };
        string whole = ToyStage.Run(earlier with { Folder = _folder["whole"] });
        ToyStage.Run(earlier, 8);
        AsEarlierRelease(EarlierDigest);
        Refused(Config with { Seed = 8 }, "is of a run with another network, seed, batch, stage or data");
        Assert.Equal(whole, ToyStage.Run(Config, remarks: _remarks));
        Assert.Contains(
            "was written by an earlier release, which recorded neither shards nor threads", Assert.Single(_remarks));
        using SafeTensorsFile last = SafeTensorsFile.Open(_folder["run/stop-000000020.safetensors"]);
        Assert.Equal(8, RunIdentity.Parse(last.Metadata["identity_parts"]).Shards);
    }

    [Fact]
    public void DamagedIdentity_IsRefused()
    {
        ToyStage.Run(Config, 8);
        AsEarlierRelease("no digest");
        Refused(Config, "the release that wrote it did not record which");
        AsEarlierRelease(EarlierDigest, ("identity_parts", "{}"));
        Refused(Config, "identity_parts: does not match its digest");

        // Of a later release, which knows more parts.
        const string empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        AsEarlierRelease(empty, ("identity_parts", "{}"));
        Refused(Config, "identity: cannot be read; it may be of a later release.");
    }

    [Fact]
    public void DigestOfData_IsThatOfItsIndexFiles_InTheirOrder()
    {
        Write("a", samples: 2);
        Write("b", samples: 3);
        Directory.CreateDirectory(_folder["moved"]);
        foreach (string file in Directory.GetFiles(_folder["a"]))
        {
            File.Copy(file, Path.Combine(_folder["moved"], Path.GetFileName(file)));
        }

        Assert.Equal(Digest("a", "b"), Digest("moved", "b"));
        Assert.NotEqual(Digest("a", "b"), Digest("b", "a"));
        Assert.NotEqual(Digest("a"), Digest("b"));
        Assert.Matches("^[0-9a-f]{64}$", Digest("a"));
        File.AppendAllText(_folder["moved/index.json"], "\n");
        Assert.NotEqual(Digest("a", "b"), Digest("moved", "b"));

        string Digest(params string[] names)
        {
            using var data = new LatentData([.. names.Select(name => _folder[name])], "latents_64", (1, 2, 2), (1, 3));
            return data.Digest;
        }

        void Write(string name, int samples)
        {
            var columns = new Dictionary<string, string> { ["caption_latents"] = "bytes", ["latents_64"] = "bytes" };
            var writer = new MdsWriter(_folder[name], columns, new MdsWriteOptions());
            for (int i = 0; i < samples; i++)
            {
                writer.Write(new Dictionary<string, object>
                {
                    ["caption_latents"] = new ReadOnlyMemory<byte>(new byte[2 * 3]),
                    ["latents_64"] = new ReadOnlyMemory<byte>(new byte[2 * 4]),
                });
            }

            writer.Complete();
        }
    }

    private void Refused(StageConfig config, string says, ITrainingData? data = null)
    {
        string[] before = Directory.GetFiles(_folder["run"]);
        RefusedFileException error =
            Assert.Throws<RefusedFileException>(() => ToyStage.Run(config, data: data));
        Assert.Contains(says, error.Message);
        Assert.Equal(before, Directory.GetFiles(_folder["run"]));
    }

    // Writes the newest checkpoint as another run would have, beside an older one of this run that must not be used
    // instead. Returns this run's identity.
    private RunIdentity Rewrite(Func<RunIdentity, RunIdentity> change)
    {
        using var run = new StageState(Config, ToyStage.Data, _ => { });
        RunIdentity own = run.Identity;
        new CheckpointStore(_folder["run"], 2, change(own), "").Save(run.Engine.Master, run.Position, isPlanned: false);
        return own;
    }

    private void AsEarlierRelease(string digest, params (string Key, string Value)[] more)
    {
        string path = Directory.GetFiles(_folder["run"], "stop-*.safetensors").Single();
        using var run = new StageState(Config with { Folder = _folder["empty"] }, ToyStage.Data, _ => { });
        RunPosition position;
        using (SafeTensorsFile file = SafeTensorsFile.Open(path))
        {
            position = JsonSerializer.Deserialize<RunPosition>(file.Metadata["position"])!;
            run.Engine.Master.Restore(path, file, Names, position.Updates);
        }

        foreach (string file in Directory.GetFiles(_folder["run"], "step-*"))
        {
            File.Delete(file);
        }

        var metadata = new Dictionary<string, string>
        {
            ["identity"] = digest, ["precision"] = "float32", ["position"] = JsonSerializer.Serialize(position),
        };
        foreach ((string key, string value) in more)
        {
            metadata[key] = value;
        }

        run.Engine.Master.Save(path, Names, metadata);
    }

    private static StateNames Names => new("weights", "ema", "moment1", "moment2");

    private sealed class Listed(ITrainingData data) : ITrainingData
    {
        public string Digest => "ab";

        public int Count => data.Count;

        public (int Channels, int Height, int Width) LatentShape => data.LatentShape;

        public (int Length, int Channels) CaptionShape => data.CaptionShape;

        public void Read(int sample, Span<float> latent, Span<float> caption) => data.Read(sample, latent, caption);
    }
}
