// A whole text-to-image model that needs no file: three small networks with weights by formula, and a vocabulary of bytes
// and a few merges.
using System.IO.Compression;
using System.Text;
using Atelier.Cli.Verify;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Networks;

namespace Atelier.Model.Tests.Pipeline;

internal static class TinyPipeline
{
    /// <summary>The bytes of the vocabulary file: 512 byte symbols, four merges, two marks.</summary>
    public static byte[] Vocabulary { get; } = Gzip("#version: 0.2\nr e\nre d</w>\nb l\nbl u\n");

    /// <summary>A text tower over that vocabulary, as wide as the denoiser's captions.</summary>
    public static ClipConfig Clip(int width) => new()
    {
        EmbedDim = 16,
        QuickGelu = true,
        Text = new ClipTextConfig { VocabSize = 518, Width = width, Heads = 4, Layers = 2 },
        Vision = new ClipVisionConfig { ImageSize = 16, PatchSize = 8, Width = 16, HeadWidth = 8, Layers = 1 },
    };

    /// <summary>Two pixels of picture per latent position.</summary>
    public static AutoencoderConfig Autoencoder { get; } = new() { BlockOutChannels = [8, 16], NormNumGroups = 4, ScalingFactor = 0.5 };

    /// <summary>A new pipeline over new networks; two of them have the same weights.</summary>
    public static TextToImage Create(MicroDiTConfig config, int width)
    {
        var text = new ClipTextEncoder(Clip(config.CaptionChannels));
        FormulaWeights.Fill(text, "clip/");
        text.eval();
        var autoencoder = new AutoencoderKL(Autoencoder);
        FormulaWeights.Fill(autoencoder, "vae/");
        autoencoder.eval();
        ClipTokenizer tokenizer = ClipTokenizer.Load(new MemoryStream(Vocabulary), "tiny vocabulary");
        return new TextToImage(tokenizer, text, SmallNetworks.Filled(config), new Edm(), autoencoder, width);
    }

    private static byte[] Gzip(string text)
    {
        var bytes = new MemoryStream();
        using (var gzip = new GZipStream(bytes, CompressionLevel.Fastest))
        {
            gzip.Write(Encoding.UTF8.GetBytes(text));
        }

        return bytes.ToArray();
    }
}
