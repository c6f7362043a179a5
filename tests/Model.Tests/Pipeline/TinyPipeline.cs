// A whole text-to-image model that needs no files: three small networks with formula weights, and a vocabulary of bytes
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
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Pipeline;

internal static class TinyPipeline
{
    /// <summary>The bytes of the vocabulary file: 512 byte symbols, four merges, two markers.</summary>
    public static byte[] Vocabulary { get; } = Gzip("#version: 0.2\nr e\nre d</w>\nb l\nbl u\n");

    /// <summary>A text tower for that vocabulary, as wide as the denoiser's captions.</summary>
    public static ClipConfig Clip(int width) => new()
    {
        EmbedDim = 16,
        QuickGelu = true,
        Text = new ClipTextConfig { VocabSize = 518, Width = width, Heads = 4, Layers = 2 },
        Vision = new ClipVisionConfig { ImageSize = 16, PatchSize = 8, Width = 16, HeadWidth = 8, Layers = 1 },
    };

    /// <summary>Two pixels of the picture per latent position.</summary>
    public static AutoencoderConfig Autoencoder { get; } =
        new() { BlockOutChannels = [8, 16], NormNumGroups = 4, ScalingFactor = 0.5 };

    /// <summary>A new pipeline over new networks; any two of them have the same weights.</summary>
    public static TextToImage Create(MicroDiTConfig config, int width) => Create(config, width, null, 0);

    /// <summary>The networks of a pipeline, one of which may be spoiled.</summary>
    /// <param name="config">The denoiser.</param>
    /// <param name="part">The part, as <see cref="ModelParts"/> names it, or null.</param>
    /// <param name="value">The value of all numbers in its spoiled tensors.</param>
    public static (ClipTextEncoder Text, MicroDiT Network, AutoencoderKL Autoencoder) Networks(
        MicroDiTConfig config, string? part, float value)
    {
        var text = new ClipTextEncoder(Clip(config.CaptionChannels));
        FormulaWeights.Fill(text, "clip/");
        text.eval();
        var autoencoder = new AutoencoderKL(Autoencoder);
        FormulaWeights.Fill(autoencoder, "vae/");
        autoencoder.eval();
        MicroDiT network = SmallNetworks.Filled(config);
        using var noGradients = no_grad();
        (nn.Module Network, string Tensors)? spoiled = part switch
        {
            ModelParts.TextEncoder => (text, ".c_fc.weight"),
            ModelParts.Denoiser => (network, "adaLN_modulation.1.weight"),
            ModelParts.Decoder => (autoencoder, "decoder."),
            ModelParts.PictureEncoder => (autoencoder, "encoder."),
            _ => null,
        };
        foreach ((string name, Parameter parameter) in spoiled?.Network.named_parameters() ?? [])
        {
            // Of the autoencoder all convolutions of one half, of the other networks the matrices of every block.
            string tensors = spoiled!.Value.Tensors;
            if (name.EndsWith(tensors, StringComparison.Ordinal)
                || (name.StartsWith(tensors, StringComparison.Ordinal) && parameter.dim() == 4))
            {
                parameter.fill_(value);
            }
        }

        return (text, network, autoencoder);
    }

    /// <summary>A tokenizer of that vocabulary.</summary>
    public static ClipTokenizer Tokenizer() => ClipTokenizer.Load(new MemoryStream(Vocabulary), "tiny vocabulary");

    /// <summary>A new pipeline with one spoiled part; see <see cref="Networks"/>.</summary>
    public static TextToImage Create(MicroDiTConfig config, int width, string? part, float value)
    {
        (ClipTextEncoder text, MicroDiT network, AutoencoderKL autoencoder) = Networks(config, part, value);
        return new TextToImage(Tokenizer(), text, network, new Edm(), autoencoder, width);
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
