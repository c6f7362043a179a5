// Goal: latents are a function of pictures, captions and the seed: not of workers, and not of where a run was cut off.
using Atelier.Cli.Verify;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Data;
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
        Assert.Equal(whole, File.GetLastWriteTimeUtc(folder["cut/00000/index.json"])); // What was complete is not made again.
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

        Refused("latents_32", latent, (77, 24), "is no column of this set");
        Refused("latents_16", (4, 16, 16), (77, 24), "4 x 16 x 16");
        Refused("latents_16", latent, (77, 32), "77 x 32");
        File.Delete(folder["data/index.json"]);
        Refused("latents_16", latent, (77, 24), "index.json");

        void Refused(string column, (int, int, int) shape, (int, int) caption, string says) => Assert.Contains(
            says, Assert.Throws<RefusedFileException>(() => new LatentData([folder["data"]], column, shape, caption)).Message);
    }

    private static void Run(
        string folder, int workers, Action<long>? progress = null, CancellationTokenSource? stop = null)
    {
        using var text = new ClipTextEncoder(TinyPipeline.Clip(24));
        FormulaWeights.Fill(text, "clip/");
        using var autoencoder = new AutoencoderKL(TinyPipeline.Autoencoder);
        FormulaWeights.Fill(autoencoder, "vae/");
        ClipTokenizer tokenizer = ClipTokenizer.Load(new MemoryStream(TinyPipeline.Vocabulary), "tiny vocabulary");
        new Precompute(new Patterns(), autoencoder, text, tokenizer, [Side], seed: 5).Run(folder, workers, progress, stop?.Token ?? TestContext.Current.CancellationToken);
    }

    private static string[] Files(string folder) =>
        [.. Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(folder, f)).Order(StringComparer.Ordinal)];

    private sealed class Patterns : ICaptionedPictures
    {
        public long Count => PrecomputeTests.Count;

        public string Caption(long index) => index % 2 == 0 ? $"red {index}" : "blue";

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
