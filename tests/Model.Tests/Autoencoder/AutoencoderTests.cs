using System.Text.Json;
using Atelier.Cli.Verify;
using Atelier.Model.Autoencoder;
using Atelier.Model.Tests.Verify;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Autoencoder;

public sealed class AutoencoderTests
{
    private static readonly AutoencoderConfig s_tiny = new() { BlockOutChannels = [8, 16], NormNumGroups = 4 };

    [Theory]
    [InlineData("vae/two_level")]
    [InlineData("vae/four_level")]
    public void EncodeAndDecode_GiveTheReferencesNumbers(string topic)
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        var reference = new FormulaCase(topic);
        using var network = new AutoencoderKL(AutoencoderConfig.Parse(reference.Config, topic));
        FormulaWeights.Fill(network, reference.Prefix);
        Dictionary<string, List<Tensor>> taps = FormulaCase.Record(network, reference.Taps);

        using LatentDistribution latent = network.Encode(reference.Input("image"));
        reference.AssertClose("mean", latent.Mean);
        reference.AssertClose("logvar", latent.LogVariance);
        reference.AssertClose("std", latent.StandardDeviation());
        reference.AssertClose("sample", latent.Sample(reference.Input("eps")));
        Tensor decoded = network.Decode(reference.Input("latent_for_decode"));
        reference.AssertClose("decoded", decoded);
        reference.AssertClose("decoded_01", decoded.div(2).add(0.5).clamp(0, 1));
        foreach ((string name, List<Tensor> outputs) in taps)
        {
            reference.AssertClose("tap/" + name, cat([.. outputs]));
        }
    }

    [Theory]
    [InlineData("vae/two_level")]
    [InlineData("vae/four_level")]
    public void StateDict_HasTheReferencesNamesAndShapes(string topic)
    {
        var reference = new FormulaCase(topic);
        using var network = new AutoencoderKL(AutoencoderConfig.Parse(reference.Config, topic));
        FormulaCase.AssertStateDict(reference.StateDict, network);
    }

    [Fact]
    public void StateDict_AtFullSizeIsThatOfSdxl()
    {
        JsonElement reference = FormulaCase.FullSize("vae/keys_and_shapes/sdxl_vae.json");
        AutoencoderConfig config = AutoencoderConfig.Parse(reference.GetProperty("config"), "sdxl_vae.json");
        Assert.Equal(AutoencoderConfig.Sdxl.BlockOutChannels, config.BlockOutChannels);
        Assert.Equal(
            AutoencoderConfig.Sdxl with { BlockOutChannels = config.BlockOutChannels },
            config);
        using var network = new AutoencoderKL(config);
        FormulaCase.AssertStateDict(reference.GetProperty("state_dict"), network);
        Assert.Equal(83_653_863, network.parameters().Sum(p => p.numel()));
    }

    [Fact]
    public void SixteenChannelsWithoutQuantConvolutions_MakeANetworkWithoutTheirKeys()
    {
        using var scope = NewDisposeScope();
        using var network = Filled(s_tiny with { LatentChannels = 16, UseQuantConv = false, UsePostQuantConv = false });
        Assert.DoesNotContain(network.state_dict().Keys, name => name.Contains("quant", StringComparison.Ordinal));
        using LatentDistribution latent = network.Encode(Noise("image", 1, 3, 8, 8));
        Assert.Equal([1, 16, 4, 4], latent.Mean.shape);
        Assert.Equal([1, 3, 8, 8], network.Decode(latent.Mean).shape);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void APicturesBits_DoNotDependOnItsBatch(int threads)
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        using var network = Filled(s_tiny);
        Tensor images = Noise("image", 4, 3, 16, 16);
        Tensor latents = Noise("latent", 4, 4, 8, 8);
        int before = get_num_threads();
        set_num_threads(threads);
        try
        {
            for (int width = 2; width <= 4; width++)
            {
                Tensor means = network.Encode(images.narrow(0, 4 - width, width)).Mean;
                Tensor pictures = network.Decode(latents.narrow(0, 4 - width, width));
                for (int i = 0; i < width; i++)
                {
                    Tensor mean = network.Encode(images.narrow(0, 4 - width + i, 1)).Mean;
                    Tensor picture = network.Decode(latents.narrow(0, 4 - width + i, 1));
                    Assert.Equal(FormulaCase.Bits(mean), FormulaCase.Bits(means.narrow(0, i, 1)));
                    Assert.Equal(FormulaCase.Bits(picture), FormulaCase.Bits(pictures.narrow(0, i, 1)));
                }
            }
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Theory]
    [InlineData(8, 2)]
    [InlineData(9, 0)]
    [InlineData(100, 50)]
    public void DecodeTiled_IsDecode_WhenEverythingFitsOneTile(int tile, int overlap)
    {
        using var scope = NewDisposeScope();
        using var network = Filled(s_tiny);
        Tensor latent = Noise("latent", 2, 4, 8, 6);
        Assert.Equal(
            FormulaCase.Bits(network.Decode(latent)), FormulaCase.Bits(network.DecodeTiled(latent, tile, overlap)));
    }

    [Fact]
    public void DecodeTiled_IsTheTilesOwnDecode_WhereOneTileAloneCovers()
    {
        using var scope = NewDisposeScope();
        using var network = Filled(s_tiny);
        Tensor latent = Noise("latent", 1, 4, 14, 20);
        Tensor whole = network.DecodeTiled(latent, tile: 8, overlap: 2);
        Assert.Equal([1, 3, 28, 40], whole.shape);
        Assert.Equal(FormulaCase.Bits(whole), FormulaCase.Bits(network.DecodeTiled(latent, tile: 8, overlap: 2)));

        // Rows start at 0 and 6, columns at 0, 6 and 12, so the first tile alone covers 6 x 6 positions.
        Tensor corner = network.Decode(latent.narrow(2, 0, 8).narrow(3, 0, 8));
        Assert.Equal(
            FormulaCase.Bits(corner.narrow(2, 0, 12).narrow(3, 0, 12)),
            FormulaCase.Bits(whole.narrow(2, 0, 12).narrow(3, 0, 12)));

        // In the fade the result is between the two tiles.
        Tensor right = network.Decode(latent.narrow(2, 0, 8).narrow(3, 6, 8));
        Tensor a = corner.narrow(2, 0, 12).narrow(3, 12, 4);
        Tensor b = right.narrow(2, 0, 12).narrow(3, 0, 4);
        Tensor mixed = whole.narrow(2, 0, 12).narrow(3, 12, 4);
        Assert.True(mixed.le(maximum(a, b) + 1e-5).all().item<bool>());
        Assert.True(mixed.ge(minimum(a, b) - 1e-5).all().item<bool>());
    }

    [Fact]
    public void Tiles_CoverEveryPixelWithSharesThatSumToOne()
    {
        for (int length = 1; length <= 40; length++)
        {
            for (int tile = 1; tile <= 12; tile++)
            {
                for (int overlap = 0; overlap <= tile / 2; overlap++)
                {
                    double[] total = new double[2 * length];
                    foreach (Tile part in Tile.Cover(length, tile, overlap, factor: 2))
                    {
                        Assert.Equal(Math.Min(tile, length), part.Length);
                        for (int x = 0; x < part.Shares.Length; x++)
                        {
                            Assert.InRange(part.Shares[x], 0, 1);
                            total[(2 * part.Start) + x] += part.Shares[x];
                        }
                    }

                    Assert.All(total, sum => Assert.Equal(1, sum, 1e-6));
                }
            }
        }
    }

    [Fact]
    public void OldAttentionNamesAndShapes_AreAccepted()
    {
        (string Old, string New)[] names =
            [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
        foreach ((string old, string today) in names)
        {
            Assert.Equal(
                $"encoder.mid_block.attentions.0.{today}.weight",
                AutoencoderKL.CanonicalName($"encoder.mid_block.attentions.0.{old}.weight"));
        }

        using var network = new AutoencoderKL(s_tiny);
        Assert.All(network.state_dict().Keys, name => Assert.Equal(name, AutoencoderKL.CanonicalName(name)));
        Assert.Equal(
            [16, 16], AutoencoderKL.CanonicalShape("decoder.mid_block.attentions.0.to_q.weight", [16, 16, 1, 1]));
        Assert.Equal([8, 8, 1, 1], AutoencoderKL.CanonicalShape("quant_conv.weight", [8, 8, 1, 1]));
        Assert.Equal([16], AutoencoderKL.CanonicalShape("decoder.mid_block.attentions.0.to_q.bias", [16]));
    }

    [Theory]
    [InlineData("""{"block_out_channels": [12, 30], "norm_num_groups": 4}""", "norm_num_groups")]
    [InlineData("""{"block_out_channels": "wide"}""", "block_out_channels")]
    [InlineData("""{"block_out_channels": [32, 1e9]}""", "block_out_channels[1]")]
    [InlineData("""{"block_out_channels": [64000]}""", "block_out_channels")]
    [InlineData("""{"block_out_channels": []}""", "block_out_channels")]
    [InlineData("""{"layers_per_block": 1000}""", "layers_per_block")]
    [InlineData("""{"latent_channels": 0}""", "latent_channels")]
    [InlineData("""{"scaling_factor": 0}""", "scaling_factor")]
    [InlineData("""{"scaling_factor": 1e999}""", "scaling_factor")]
    [InlineData("""{"act_fn": "mish"}""", "act_fn")]
    [InlineData("""{"down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]}""", "down_block_types")]
    [InlineData("""{"mid_block_add_attention": false}""", "attention")]
    [InlineData("""{"latents_mean": [0.1]}""", "latents_mean")]
    [InlineData("""{"use_quant_conv": 1}""", "use_quant_conv")]
    [InlineData("[]", "Array")]
    public void AConfigurationThatMakesNoNetwork_IsRefusedByName(string json, string named)
    {
        JsonElement element = JsonDocument.Parse(json).RootElement;
        var refusal = Assert.Throws<RefusedFileException>(() => AutoencoderConfig.Parse(element, "config.json"));
        Assert.Equal("config.json", refusal.File);
        Assert.Contains(named, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ADamagedConfigurationFile_IsRefused()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, """{"latent_channels": 4,""");
            Assert.Throws<RefusedFileException>(() => AutoencoderConfig.Read(file));
            File.WriteAllText(file, new string(' ', 2_000_000));
            Assert.Throws<RefusedFileException>(() => AutoencoderConfig.Read(file));
            File.WriteAllText(file, """{"latent_channels": 16, "shift_factor": null, "act_fn": "silu"}""");
            Assert.Equal(16, AutoencoderConfig.Read(file).LatentChannels);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void WrongShapes_AreRefused()
    {
        using var scope = NewDisposeScope();
        using var network = Filled(s_tiny);
        Assert.Throws<ArgumentException>(() => network.Encode(zeros(1, 3, 9, 8)));
        Assert.Throws<ArgumentException>(() => network.Encode(zeros(1, 4, 8, 8)));
        Assert.Throws<ArgumentException>(() => network.Encode(zeros(3, 8, 8)));
        Assert.Throws<ArgumentException>(() => network.Decode(zeros(1, 3, 8, 8)));
        Assert.Throws<ArgumentException>(() => network.Decode(zeros(0, 4, 8, 8)));
        Assert.ThrowsAny<ArgumentException>(() => network.DecodeTiled(zeros(1, 4, 8, 8), tile: 4, overlap: 3));
        Assert.Throws<ArgumentException>(() => new AutoencoderKL(new AutoencoderConfig { BlockOutChannels = [5] }));
    }

    [Fact]
    public void Gradients_ReachEveryParameter()
    {
        using var scope = NewDisposeScope();
        using var network = Filled(s_tiny);
        using LatentDistribution latent = network.Encode(Noise("image", 2, 3, 8, 8));
        network.Decode(latent.Sample(Noise("eps", 2, 4, 4, 4))).square().mean().backward();
        Assert.All(network.named_parameters(), p => Assert.True(p.parameter.grad is not null, p.name));
    }

    [Fact]
    public void Calls_LeaveNoTensorsBehind()
    {
        using var scope = NewDisposeScope();
        using var network = Filled(s_tiny);
        Tensor images = Noise("image", 2, 3, 16, 16);
        Tensor latents = Noise("latent", 2, 4, 12, 12);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int i = 0; i < 3; i++)
        {
            using LatentDistribution latent = network.Encode(images);
            using Tensor sample = latent.Sample(latent.Mean);
            using Tensor decoded = network.Decode(latents);
            using Tensor tiled = network.DecodeTiled(latents, tile: 8, overlap: 3);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static AutoencoderKL Filled(AutoencoderConfig config)
    {
        var network = new AutoencoderKL(config);
        FormulaWeights.Fill(network, "test/");
        return network;
    }

    private static Tensor Noise(string name, params long[] shape)
    {
        Tensor tensor = empty(shape);
        FormulaWeights.Fill(tensor, name, 0, 1);
        return tensor;
    }
}
