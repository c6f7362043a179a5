using System.Text.Json;
using Atelier.Cli.Verify;
using Atelier.Model.Clip;
using Atelier.Model.Tests.Verify;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Clip;

public sealed class ClipNetworkTests
{
    private static readonly ClipConfig s_tiny = new()
    {
        EmbedDim = 12,
        QuickGelu = true,
        Text = new ClipTextConfig { VocabSize = 100, Width = 32, Heads = 4, Layers = 2 },
        Vision = new ClipVisionConfig { ImageSize = 16, PatchSize = 8, Width = 16, HeadWidth = 8, Layers = 1 },
    };

    [Theory]
    [InlineData("clip/tiny_quickgelu")]
    [InlineData("clip/tiny_gelu")]
    public void BothTowers_GiveTheReferencesNumbers(string topic)
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        var reference = new FormulaCase(topic);
        using var model = new ClipModel(ClipConfig.Parse(reference.Config, topic));
        FormulaWeights.Fill(model, reference.Prefix);
        Dictionary<string, List<Tensor>> taps = FormulaCase.Record(model, reference.Taps);

        Tensor ids = reference.Input("token_ids");
        Tensor hidden = model.Encode(ids);
        reference.AssertClose("hidden", hidden.unsqueeze(1));
        Tensor text = model.Pool(hidden, ids);
        Tensor image = model.EncodeImage(reference.Input("image"));
        foreach ((string name, List<Tensor> outputs) in taps)
        {
            reference.AssertClose("tap/" + name, cat([.. outputs]));
        }

        reference.AssertClose("text_features", text);
        reference.AssertClose("image_features", image);
        reference.AssertClose("text_features_normalized", nn.functional.normalize(text));
        reference.AssertClose("image_features_normalized", nn.functional.normalize(image));
        reference.AssertClose("logits_per_image", model.Logits(image, text));
        reference.AssertClose("clip_score_100_cosine", ClipModel.Score(image, text));
    }

    [Theory]
    [InlineData("clip/tiny_quickgelu")]
    [InlineData("clip/tiny_gelu")]
    public void StateDict_HasTheReferencesNamesAndShapes(string topic)
    {
        var reference = new FormulaCase(topic);
        using var model = new ClipModel(ClipConfig.Parse(reference.Config, topic));
        FormulaCase.AssertStateDict(reference.StateDict, model);
    }

    [Fact]
    public void StateDict_AtFullSizeIsThatOfVitH14()
    {
        JsonElement reference = FormulaCase.FullSize("clip/keys_and_shapes/ViT-H-14-378-quickgelu.json");
        ClipConfig config = ClipConfig.Parse(reference.GetProperty("config"), "ViT-H-14-378-quickgelu.json");
        Assert.Equal(ClipConfig.VitH14, config);
        using var model = new ClipModel(config);
        FormulaCase.AssertStateDict(reference.GetProperty("state_dict"), model);
        Assert.Equal(986_714_881, model.parameters().Sum(p => p.numel()));
        using var text = new ClipTextEncoder(config);
        Assert.Equal(354_032_640, text.parameters().Sum(p => p.numel()));
    }

    [Fact]
    public void TextEncoderAlone_HasTheSameNamesAndGivesTheSameBits()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        using var model = new ClipModel(s_tiny);
        using var alone = new ClipTextEncoder(s_tiny);
        Assert.Equal(
            model.state_dict().Keys.Select(ClipTextEncoder.CanonicalName).Where(name => name is not null).Order(),
            alone.state_dict().Keys.Order());
        FormulaWeights.Fill(model, "test/");
        FormulaWeights.Fill(alone, "test/");
        Tensor ids = Ids(2);
        Assert.Equal(FormulaCase.Bits(model.Encode(ids)), FormulaCase.Bits(alone.Encode(ids)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ATextsBits_DoNotDependOnItsBatch(int threads)
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        using var encoder = new ClipTextEncoder(s_tiny);
        FormulaWeights.Fill(encoder, "test/");
        Tensor ids = Ids(8);
        int before = get_num_threads();
        set_num_threads(threads);
        try
        {
            byte[][] alone =
                [.. Enumerable.Range(0, 8).Select(i => FormulaCase.Bits(encoder.Encode(ids.narrow(0, i, 1))))];
            foreach (int width in new[] { 2, 3, 4, 8 })
            {
                for (int start = 0; start + width <= 8; start++)
                {
                    Tensor together = encoder.Encode(ids.narrow(0, start, width));
                    for (int i = 0; i < width; i++)
                    {
                        Assert.Equal(alone[start + i], FormulaCase.Bits(together.narrow(0, i, 1)));
                    }
                }
            }
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Fact]
    public void APosition_SeesOnlyWhatComesBeforeIt()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        using var encoder = new ClipTextEncoder(s_tiny);
        FormulaWeights.Fill(encoder, "test/");
        Tensor ids = Ids(1);
        Tensor changed = ids.clone();
        changed[0, 40] = tensor(99L);
        Tensor a = encoder.Encode(ids);
        Tensor b = encoder.Encode(changed);
        Assert.Equal(FormulaCase.Bits(a.narrow(1, 0, 40)), FormulaCase.Bits(b.narrow(1, 0, 40)));
        Assert.NotEqual(FormulaCase.Bits(a.narrow(1, 40, 37)), FormulaCase.Bits(b.narrow(1, 40, 37)));
    }

    [Fact]
    public void Pool_TakesTheFirstOfEqualLargestIds()
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        using var encoder = new ClipTextEncoder(s_tiny);
        FormulaWeights.Fill(encoder, "test/");
        Tensor ids = zeros(1, 77, dtype: ScalarType.Int64);
        ids[0, 5] = tensor(99L);
        ids[0, 9] = tensor(99L);
        Tensor hidden = encoder.Encode(ids);
        Tensor expected = hidden[0, 5].unsqueeze(0).matmul(encoder.state_dict()["text_projection"]);
        Assert.True(encoder.Pool(hidden, ids).allclose(expected));
    }

    // Tokens that differ only after position 5.
    [Theory]
    [InlineData("{}", true)]
    [InlineData("{\"no_causal_mask\": true}", false)]
    public void APosition_SeesLaterOnes_OnlyWithoutACausalMask(string text, bool isBlind)
    {
        using var scope = NewDisposeScope();
        using var inference = inference_mode(true);
        string json = $"{{\"embed_dim\": 8, \"text_cfg\": {text}, \"vision_cfg\": {{}}}}";
        ClipTextConfig read = ClipConfig.Parse(JsonDocument.Parse(json).RootElement, "open_clip_config.json").Text;
        using var encoder = new ClipTextEncoder(
            s_tiny with { Text = s_tiny.Text with { NoCausalMask = read.NoCausalMask } });
        FormulaWeights.Fill(encoder, "test/");
        Tensor one = arange(77).remainder(50).unsqueeze(0), other = one.clone();
        other[0, 6] = tensor(77L);
        Tensor first = encoder.Encode(one), second = encoder.Encode(other);
        Assert.Equal(isBlind, first[0, ..6].equal(second[0, ..6]).all().item<bool>());
        Assert.False(first[0, 6].allclose(second[0, 6]));
    }

    [Theory]
    [InlineData("""{"embed_dim": 8, "text_cfg": {}}""", "vision_cfg")]
    [InlineData("""{"text_cfg": {}, "vision_cfg": {}}""", "embed_dim")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {"hf_model_name": "x"}, "vision_cfg": {}}""", "text_cfg.hf_model_name")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"timm_model_name": "x"}}""", "timm_model_name")]
    [InlineData("""{"embed_dim": 8, "custom_text": true, "text_cfg": {}, "vision_cfg": {}}""", "custom_text")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {"width": 10, "heads": 3}, "vision_cfg": {}}""", "heads")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"layers": [3, 4, 6, 3]}}""", "vision_cfg.layers")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"image_size": 225}}""", "image_size")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {"layers": 100000}, "vision_cfg": {}}""", "layers")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"head_width": 0}}""", "head_width")]
    [InlineData("""{"embed_dim": 8, "text_cfg": {"mlp_ratio": -1}, "vision_cfg": {}}""", "mlp_ratio")]
    public void AConfigurationThatMakesNoNetwork_IsRefusedByName(string json, string named)
    {
        JsonElement element = JsonDocument.Parse(json).RootElement;
        var refusal = Assert.Throws<RefusedFileException>(() => ClipConfig.Parse(element, "open_clip_config.json"));
        Assert.Contains(named, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AWholeOpenClipConfiguration_IsReadFromItsModelPart()
    {
        JsonElement element = JsonDocument.Parse(
            """
            {"model_cfg": {"embed_dim": 8, "quick_gelu": true, "custom_text": false, "text_cfg": {}, "vision_cfg": {}},
             "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
            """).RootElement;
        ClipConfig config = ClipConfig.Parse(element, "open_clip_config.json");
        Assert.True(config.QuickGelu);
        Assert.Equal((8, 77, 49408), (config.EmbedDim, config.Text.ContextLength, config.Text.VocabSize));
    }

    [Fact]
    public void WrongShapes_AreRefused()
    {
        using var scope = NewDisposeScope();
        using var model = new ClipModel(s_tiny);
        Assert.Throws<ArgumentException>(() => model.Encode(zeros(1, 76, dtype: ScalarType.Int64)));
        Assert.Throws<ArgumentException>(() => model.Encode(zeros(1, 77)));
        Assert.Throws<ArgumentException>(() => model.EncodeImage(zeros(1, 3, 16, 8)));
        Assert.Throws<ArgumentException>(() => new ClipModel(s_tiny with { EmbedDim = 0 }));
    }

    [Fact]
    public void Gradients_ReachEveryParameter()
    {
        using var scope = NewDisposeScope();
        using var model = new ClipModel(s_tiny);
        FormulaWeights.Fill(model, "test/");
        Tensor image = empty(2, 3, 16, 16);
        FormulaWeights.Fill(image, "image", 0, 1);
        model.Logits(model.EncodeImage(image), model.EncodeText(Ids(2))).square().sum().backward();
        Assert.All(model.named_parameters(), p => Assert.True(p.parameter.grad is not null, p.name));
    }

    [Fact]
    public void Calls_LeaveNoTensorsBehind()
    {
        using var scope = NewDisposeScope();
        using var model = new ClipModel(s_tiny);
        FormulaWeights.Fill(model, "test/");
        Tensor ids = Ids(3);
        Tensor images = zeros(2, 3, 16, 16);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int i = 0; i < 3; i++)
        {
            using Tensor text = model.EncodeText(ids);
            using Tensor image = model.EncodeImage(images);
            using Tensor logits = model.Logits(image, text);
            using Tensor score = ClipModel.Score(image, text);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private static Tensor Ids(int count) =>
        tensor([.. Enumerable.Range(0, count * 77).Select(i => (i * 7919L) % 100)], [count, 77]);
}
