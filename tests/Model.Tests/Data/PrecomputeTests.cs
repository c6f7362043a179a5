// Goal: latents are a function of pictures, captions and the seed, not of workers or of where a run was interrupted.
using Atelier.Cli.Verify;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Data;
using Atelier.Model.Data.Mds;
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Model.Tests.Pipeline;
using Atelier.Model.Training.Runs;
using Xunit;

namespace Atelier.Model.Tests.Data;

public sealed class PrecomputeTests
{
    private const int Side = 16, Count = Precompute.PartSamples + 100;

    [Fact]
    public void WorkersAndInterruptions_DoNotChangeTheLatents()
    {
        using var folder = new TemporaryFolder();
        Run(folder["one"], workers: 1);
        Run(folder["two"], workers: 2);
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => Run(folder["cut"], 1, Stop, stop));
        DateTime whole = File.GetLastWriteTimeUtc(folder["cut/00000/index.json"]);
        Run(folder["cut"], workers: 2);
        Run(folder["cut"], workers: 1);
        // Completed parts are not made again.
        Assert.Equal(whole, File.GetLastWriteTimeUtc(folder["cut/00000/index.json"]));
        Assert.All(MdsIndex.Read(folder["one"]).Shards, shard => Assert.Equal(["sha256"], shard.RawData.Hashes.Keys));
        string[] files = Files(folder["one"]);
        Assert.Equal(files, Files(folder["two"]));
        Assert.Equal(files, Files(folder["cut"]));
        Assert.All(files, file =>
        {
            byte[] expected = File.ReadAllBytes(Path.Combine(folder["one"], file));
            Assert.Equal(expected, File.ReadAllBytes(Path.Combine(folder["two"], file)));
            Assert.Equal(expected, File.ReadAllBytes(Path.Combine(folder["cut"], file)));
        });

        void Stop(long done)
        {
            if (done > Precompute.PartSamples + 50)
            {
                stop.Cancel();
            }
        }
    }

    // Parts of two sources, models or seeds in one set would be trained on silently.
    [Fact]
    public void Folder_OfOtherLatents_IsRefused_AndStaysAsItIs()
    {
        using var folder = new TemporaryFolder();
        Run(folder["begun"], 1, pictures: new Patterns(70));
        string[] before = Files(folder["begun"]);
        Refused("pictures", () => Run(folder["begun"], 1, pictures: new Patterns(71)));
        Refused("source", () => Run(folder["begun"], 1, pictures: new Patterns(70, "others")));
        Refused("captions", () => Run(folder["begun"], 1, pictures: new Patterns(70, captions: "others")));
        Refused("seed", () => Run(folder["begun"], 1, pictures: new Patterns(70), seed: 6));
        Refused("sizes", () => Run(folder["begun"], 1, pictures: new Patterns(70), sides: [Side, 2 * Side]));
        Refused("autoencoder", () => Run(folder["begun"], 1, pictures: new Patterns(70), weights: "others/"));
        Assert.Equal(before, Files(folder["begun"]));
        Directory.CreateDirectory(folder["foreign"]);
        File.WriteAllText(folder["foreign/letter.txt"], "somebody's");
        Refused("recipe.json", () => Run(folder["foreign"], 1, pictures: new Patterns(70)));
        Assert.Equal(["letter.txt"], Files(folder["foreign"]));

        static void Refused(string what, Action run) =>
            Assert.Contains(what, Assert.Throws<RefusedFileException>(run).Message);
    }

    // The existing parts have the old captions; continuing with new ones would mix both.
    [Fact]
    public void Captions_EditedAfterARunWasCut_AreRefused()
    {
        using var folder = new TemporaryFolder();
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(
            () => Run(folder["cut"], 1, _ => stop.Cancel(), stop, pictures: new Patterns(70)));
        string[] before = Files(folder["cut"]);
        var refusal = Assert.Throws<RefusedFileException>(
            () => Run(folder["cut"], 1, pictures: new Patterns(70, captions: "others")));
        Assert.Equal(("captions", Path.Combine(folder["cut"], Precompute.RecipeFile)), (refusal.Place, refusal.File));
        Assert.Equal(
            "is others now; these latents were begun with these. Use another folder, or remove this one.",
            refusal.Reason);
        Assert.Equal(before, Files(folder["cut"]));
    }

    [Fact]
    public void Recipe_OfAnEarlierRelease_WithoutCaptions_IsRefused_AndOneWithoutAVocabularyIsNot()
    {
        using var folder = new TemporaryFolder();
        Run(folder["begun"], 1, pictures: new Patterns(70));
        string recipe = Path.Combine(folder["begun"], Precompute.RecipeFile);
        string[] lines = File.ReadAllLines(recipe);
        Assert.Contains(lines, line => line.Contains("\"vocabulary\"", StringComparison.Ordinal));
        File.WriteAllLines(recipe, Without("\"scaling\"", "\"vocabulary\": "));
        Run(folder["begun"], 1, pictures: new Patterns(70));
        File.WriteAllLines(recipe, Without("\"captions\""));
        var refusal = Assert.Throws<RefusedFileException>(() => Run(folder["begun"], 1, pictures: new Patterns(70)));
        Assert.Equal("captions", refusal.Place);
        Assert.StartsWith("is not recorded: an earlier release began these latents", refusal.Reason);

        // The last member of an object has no comma after it.
        string[] Without(params string[] keys) => string.Join('\n', lines.Where(line => !keys.Any(line.Contains)))
            .Replace(",\n}", "\n}", StringComparison.Ordinal).Split('\n');
    }

    // "q" is a token of few captions; its embedding is NaN.
    [Fact]
    public void Picture_WhoseCaptionGivesNaN_IsSkippedAndListed_AndTheOthersAreUnchanged()
    {
        using var folder = new TemporaryFolder();
        long[] bad = [7, Precompute.PartSamples + 3];
        var pictures = new Patterns(Count, bad: bad);
        Run(folder["clean"], 2, pictures: pictures);
        IReadOnlyList<SkippedPicture> skipped = Run(folder["data"], 2, pictures: pictures, spoilsQ: true);
        Assert.Equal(bad.Select(picture => new SkippedPicture(picture, "caption_latents", "NaN")), skipped);
        Assert.Equal(skipped, Run(folder["data"], 1, pictures: pictures, spoilsQ: true)); // And when all is there.
        Assert.Contains("\"Picture\": 7", File.ReadAllText(folder["data/" + Precompute.SkippedFile]));
        using var clean = new MdsDataset(folder["clean"]);
        using var data = new MdsDataset(folder["data"]);
        Assert.Equal((Count, Count - 2), (clean.Count, data.Count));
        long[] kept = [.. Enumerable.Range(0, Count).Select(i => (long)i).Except(bad)];
        foreach (int i in new[] { 0, 6, 7, 8, kept.Length - 90, kept.Length - 1 })
        {
            MdsSample expected = clean[kept[i]], sample = data[i];
            Assert.Equal(expected.Get<string>("caption"), sample.Get<string>("caption"));
            Assert.Equal(expected.Bytes("caption_latents").ToArray(), sample.Bytes("caption_latents").ToArray());
            Assert.Equal(expected.Bytes("latents_16").ToArray(), sample.Bytes("latents_16").ToArray());
        }
    }

    [Fact]
    public void Captions_ThatAreCut_AreCountedAndTheFirstNamed_AlsoWhenTheRunIsRepeated()
    {
        using var folder = new TemporaryFolder();
        long[] cut = [3, 5, 8, 9, 64, 65, Precompute.PartSamples + 1];
        var pictures = new Patterns(Count, bad: cut, badCaption: $"{new string('z', 80)} red");
        for (int time = 0; time < 2; time++)
        {
            CutCaptions counted = new(0, []);
            Run(folder["data"], 2, pictures: pictures, cut: captions => counted = captions);
            Assert.Equal(cut.Length, counted.Count);
            Assert.Equal([3L, 5, 8, 9, 64], counted.First.Select(caption => caption.Picture));
            Assert.All(
                counted.First, caption => Assert.Equal(new TokenCount(81, 75, new string('z', 40)), caption.Tokens));
        }

        Run(folder["none"], 2, pictures: new Patterns(10), cut: captions => Assert.Equal(0, captions.Count));
        Assert.False(File.Exists(folder["none/" + Precompute.CutFile]));
    }

    [Fact]
    public void Latents_ThatNoFloat16Holds_FailTheRun_WithASentence_AndNoIndex()
    {
        using var folder = new TemporaryFolder();
        for (int time = 0; time < 2; time++)
        {
            var error = Assert.Throws<PrecomputeFailedException>(
                () => Run(folder["data"], 1, pictures: new Patterns(30), scaling: 1e9));
            Assert.Contains("more than the 3 that may be skipped: latents_16 of picture 0 holds ", error.Message);
        }

        Assert.False(File.Exists(folder["data/index.json"]));
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(9, 0)]
    [InlineData(24, 2)]
    [InlineData(100, 10)]
    [InlineData(999, 10)]
    [InlineData(1_000, 10)]
    [InlineData(1_000_000, 10_000)]
    public void SkippedPictures_AreToleratedUpToABound(long pictures, long max) =>
        Assert.Equal(max, Precompute.SkippedMax(pictures));

    [Fact]
    public void Sample_ShorterThanTheFirst_IsRefusedWhereItIsRead()
    {
        using var folder = new TemporaryFolder();
        var columns = new Dictionary<string, string> { ["caption_latents"] = "bytes", ["latents_16"] = "bytes" };
        var writer = new MdsWriter(folder["data"], columns, new MdsWriteOptions());
        foreach (int numbers in new[] { 64, 63 })
        {
            writer.Write(new Dictionary<string, object>
            {
                ["caption_latents"] = (ReadOnlyMemory<byte>)new byte[2 * 10],
                ["latents_16"] = (ReadOnlyMemory<byte>)new byte[2 * numbers],
            });
        }

        writer.Complete();
        using var data = new LatentData([folder["data"]], "latents_16", (1, 8, 8), (2, 5));
        data.Read(0, new float[64], new float[10]);
        Assert.Contains(
            "latents_16 of sample 1",
            Assert.Throws<RefusedFileException>(() => data.Read(1, new float[64], new float[10])).Message);
    }

    [Fact]
    public void Data_ThatDoesNotFitTheStage_IsRefused()
    {
        using var folder = new TemporaryFolder();
        Run(folder["data"], workers: 2);
        (int, int, int) latent = (4, Side / 2, Side / 2);
        using (var data = new LatentData([folder["data"]], "latents_16", latent, (77, 24)))
        {
            Assert.Equal(Count, data.Count);
            var (z, caption) = (new float[4 * 8 * 8], new float[77 * 24]);
            data.Read(Count - 1, z, caption);
            Assert.All(z, value => Assert.True(float.IsFinite(value)));
        }

        Refused("latents_32", latent, (77, 24), "is not a column of this data set");
        Refused("latents_16", (4, 16, 16), (77, 24), "4 x 16 x 16");
        Refused("latents_16", latent, (77, 32), "77 x 32");
        File.Delete(folder["data/index.json"]);
        Refused("latents_16", latent, (77, 24), "index.json");

        void Refused(string column, (int, int, int) shape, (int, int) caption, string says) => Assert.Contains(
            says,
            Assert.Throws<RefusedFileException>(
                () => new LatentData([folder["data"]], column, shape, caption)).Message);
    }

    private static IReadOnlyList<SkippedPicture> Run(
        string folder, int workers, Action<long>? progress = null, CancellationTokenSource? stop = null,
        Patterns? pictures = null, ulong seed = 5, int[]? sides = null, string weights = "vae/", bool spoilsQ = false,
        double scaling = 0.5, Action<CutCaptions>? cut = null)
    {
        using var text = new ClipTextEncoder(TinyPipeline.Clip(24));
        FormulaWeights.Fill(text, "clip/");
        using var autoencoder = new AutoencoderKL(TinyPipeline.Autoencoder with { ScalingFactor = scaling });
        FormulaWeights.Fill(autoencoder, weights);
        ClipTokenizer tokenizer = ClipTokenizer.Load(new MemoryStream(TinyPipeline.Vocabulary), "tiny vocabulary");
        if (spoilsQ)
        {
            using var noGradients = TorchSharp.torch.no_grad();
            text.named_parameters().Single(pair => pair.name == "token_embedding.weight")
                .parameter[tokenizer.Encode("q")[1]].fill_(float.NaN);
        }

        var precompute = new Precompute(
            pictures ?? new Patterns(Count), autoencoder, text, tokenizer, sides ?? [Side], seed);
        IReadOnlyList<SkippedPicture> skipped = precompute.Run(
            folder, workers, progress, stop?.Token ?? TestContext.Current.CancellationToken);
        cut?.Invoke(precompute.Cut);
        return skipped;
    }

    private static string[] Files(string folder) =>
        [
            .. Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(folder, f))
                .Order(StringComparer.Ordinal),
        ];

    private sealed class Patterns(
        long count, string identity = "patterns", long[]? bad = null, string captions = "these",
        string badCaption = "q")
        : ICaptionedPictures
    {
        public long Count => count;

        public IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation) =>
            new Dictionary<string, string> { ["source"] = identity, ["captions"] = captions };

        public string Caption(long index) =>
            bad?.Contains(index) == true ? badCaption : index % 2 == 0 ? $"red {index}" : "blue";

        public RgbImage Picture(long index, int side)
        {
            var pixels = new byte[3 * side * side];
            for (int i = 0; i < pixels.Length; i++)
            {
                pixels[i] = (byte)((i * (index + 3)) % 251);
            }

            return new RgbImage(side, side, pixels);
        }
    }
}
