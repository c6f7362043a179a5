// Cases of the autoencoder, CLIP, the tokenizer, the whole pipeline, and the networks that judge pictures.
using System.IO.Compression;
using System.Text.Json;
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Diffusion;
using Atelier.Model.Evaluation;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>Runs the cases of the topics <c>vae</c>, <c>clip</c>, <c>pipeline</c> and <c>fid</c>.</summary>
internal static class PictureCases
{
    private const string VocabularyFile = "bpe_simple_vocab_16e6.txt.gz";
    private const string VocabularyVariable = "ATELIER_VOCABULARY";

    /// <summary>The kinds of case, recognized by the contents of case.json.</summary>
    public static readonly CaseKind[] Kinds =
    [
        new("autoencoder", json => json.Has("config", "block_out_channels"), Autoencoder),
        new("CLIP", json => json.Has("config", "text_cfg"), Clip),
        new("tokenizer", json => json.Has("rows") && json.Member("rows")[0].Has("ids_without_padding"), Tokenizer),
        new("CLIP preprocessing", json => json.Has("target") && json.Has("mean"), Preprocess),
        new("pipeline", json => json.Has("clip_config") && json.Has("vae_config"), Pipeline),
        new("Frechet distance", json =>
            json.Has("rows") && json.Member("rows")[0].Has("frechet_by_eigenvalues"), Distance),
        new("FID Inception", json => json.Has("tolerance") && json.Member("tolerance").EnumerateObject()
            .Any(t => t.Name.EndsWith("/pool3_2048", StringComparison.Ordinal)), Inception),
    ];

    private static void Autoencoder(CaseFolder folder, Comparison check)
    {
        using var network = new AutoencoderKL(AutoencoderConfig.Parse(folder.Json.Member("config"), folder.Path));
        DitCases.CheckKeys(network, folder.Json.Member("state_dict"), check);
        if (folder.Json.TryGetProperty("old_attention_key_names", out JsonElement old))
        {
            foreach (JsonProperty pair in old.EnumerateObject())
            {
                string? name = AutoencoderKL.CanonicalName(pair.Value.GetString()!);
                check.Holds(pair.Value.GetString()!, name == pair.Name, $"is read as {name}, not as {pair.Name}");
            }
        }

        FormulaWeights.Fill(network, folder.WeightPrefix);
        string[] names = [.. folder.Json.Member("tolerance").EnumerateObject().Select(t => t.Name)];
        using var taps = new Taps(
            network, names.Where(n => n.StartsWith("tap/", StringComparison.Ordinal)).Select(n => n[4..]));
        using LatentDistribution latents = network.Encode(folder.Input("image", check));
        Tensor decoded = network.Decode(folder.Input("latent_for_decode", check));
        foreach (string name in names)
        {
            check.Tensor(name, name switch
            {
                "mean" => latents.Mean,
                "logvar" => latents.LogVariance,
                "std" => latents.StandardDeviation(),
                "sample" => latents.Sample(folder.Input("eps", check)),
                "decoded" => decoded,
                "decoded_01" => ((decoded / 2) + 0.5).clamp(0, 1),
                _ => taps.Joined(name["tap/".Length..]),
            });
        }
    }

    private static void Clip(CaseFolder folder, Comparison check)
    {
        // A case may hold only the text tower.
        ClipConfig config = ClipConfig.Parse(folder.Json.Member("config"), folder.Path);
        bool whole = folder.Json.Member("state_dict").EnumerateArray().Any(
            entry => entry.Member("name").GetString()!.StartsWith("visual.", StringComparison.Ordinal));
        using ClipTextTower network = whole ? new ClipModel(config) : new ClipTextEncoder(config);
        DitCases.CheckKeys(network, folder.Json.Member("state_dict"), check);
        FormulaWeights.Fill(network, folder.WeightPrefix);
        string[] names = [.. folder.Json.Member("tolerance").EnumerateObject().Select(t => t.Name)];
        using var taps = new Taps(
            network, names.Where(n => n.StartsWith("tap/", StringComparison.Ordinal)).Select(n => n[4..]));
        Tensor ids = folder.Input("token_ids", check).to(ScalarType.Int64);
        if (FindVocabulary(folder.Path) is { } vocabulary && folder.Json.Has("prompts"))
        {
            ClipTokenizer tokenizer = ClipTokenizer.Load(vocabulary, (int)ids.shape[1]);
            long[] tokenized = [.. folder.Json.Member("prompts").EnumerateArray()
                .SelectMany(prompt => tokenizer.Encode(prompt.GetString()!)).Select(id => (long)id)];
            check.Equal("token ids of the prompts", tokenized, ids.data<long>().ToArray());
        }
        else
        {
            check.Remark = "no prompts were tokenized: the case has none, or the vocabulary is missing";
        }

        Tensor hidden = network.Encode(ids), text = network.Pool(hidden, ids);
        Tensor image = network is ClipModel pair && folder.HasInput("image")
            ? pair.EncodeImage(folder.Input("image", check)) : text;
        foreach (string name in names)
        {
            check.Tensor(name, name switch
            {
                "hidden" => hidden,
                "text_features" => text,
                "image_features" => image,
                "text_features_normalized" => nn.functional.normalize(text, dim: -1),
                "image_features_normalized" => nn.functional.normalize(image, dim: -1),
                "logits_per_image" => ((ClipModel)network).Logits(image, text),
                "clip_score_100_cosine" => ClipModel.Score(image, text),
                _ => taps[name["tap/".Length..]],
            });
        }
    }

    private static void Tokenizer(CaseFolder folder, Comparison check)
    {
        if (FindVocabulary(folder.Path) is not { } vocabulary)
        {
            check.Skip($"the case needs {VocabularyFile}, beside it or at the path in {VocabularyVariable}");
            return;
        }

        ClipTokenizer tokenizer = ClipTokenizer.Load(vocabulary);
        foreach (JsonElement row in folder.Json.Member("rows").EnumerateArray())
        {
            string text = row.Member("text").GetString()!;
            int[] ids = [.. row.Member("ids_without_padding").EnumerateArray().Select(id => id.GetInt32())];
            int[] padded = [.. ids, .. new int[ClipTokenizer.DefaultContextLength - ids.Length]];
            check.Equal($"\"{text}\"", tokenizer.Encode(text), padded);
        }
    }

    private static void Preprocess(CaseFolder folder, Comparison check)
    {
        int target = folder.Json.Member("target").GetInt32();
        double limit = folder.Json.Member("tolerance").Member("tensor_chw").Member("max_abs").GetDouble();
        foreach (string key in folder.ExpectedNames.Where(n => n.EndsWith("/tensor_chw", StringComparison.Ordinal))
            .Select(n => n.Split('/')[0]))
        {
            Tensor stored = folder.Input($"{key}/image_hwc", check);
            var image = new RgbImage((int)stored.shape[1], (int)stored.shape[0], stored.bytes.ToArray());
            byte[] resized = ImageResize.Bicubic(image.Pixels, image.Width, image.Height, target, target);
            OneLevel(
                check, "resized_hwc", resized, folder.Expected($"{key}/resized_hwc").bytes.ToArray(), equalShare: 0.98);
            (double error, _) = Comparison.Distance(
                [.. ClipPreprocess.Run(image, target).Select(v => (double)v)],
                CaseFolder.Numbers(folder.Expected($"{key}/tensor_chw")));
            check.Within("tensor_chw", error, limit);
        }
    }

    private static void Pipeline(CaseFolder folder, Comparison check)
    {
        JsonElement json = folder.Json, prefixes = json.Member("weight_prefix");
        ClipConfig clipConfig = ClipConfig.Parse(json.Member("clip_config"), folder.Path);
        var text = new ClipTextEncoder(clipConfig);
        var network = new MicroDiT(MicroDiTConfig.FromJson(json.Member("dit_config")));
        var autoencoder = new AutoencoderKL(AutoencoderConfig.Parse(json.Member("vae_config"), folder.Path));
        FormulaWeights.Fill(text, prefixes.Member("clip").GetString()!);
        FormulaWeights.Fill(network, prefixes.Member("dit").GetString()!);
        FormulaWeights.Fill(autoencoder, prefixes.Member("vae").GetString()!);
        string? vocabulary = FindVocabulary(folder.Path);
        ClipTokenizer tokenizer = vocabulary is null
            ? ByteTokenizer(clipConfig.Text.ContextLength)
            : ClipTokenizer.Load(vocabulary, clipConfig.Text.ContextLength);
        using var pipeline = new TextToImage(tokenizer, text, network, new Edm(), autoencoder);

        long[] ids = folder.Expected("token_ids").data<long>().ToArray();
        if (vocabulary is null)
        {
            check.Equal("token_ids", ids, ids);
            check.Remark = "started from the stored token ids, because the vocabulary is missing";
        }
        else
        {
            string[] prompts = [.. json.Member("prompts").EnumerateArray().Select(p => p.GetString()!)];
            long[] tokenized = [.. prompts.SelectMany(tokenizer.Encode).Select(id => (long)id)];
            check.Equal("token_ids", tokenized, ids);
        }

        // The text tower is called directly: here an empty prompt is a text of two tokens, and only the unconditional
        // features are zeros.
        Tensor[] features =
            [.. ids.Chunk(clipConfig.Text.ContextLength).Select(row => text.Encode(tensor(row, [1, row.Length])))];
        check.Tensor("text_embeddings", cat(features));
        Tensor expectedNoise = folder.Expected("start_noise");
        JsonElement seed = json.Member("seed");
        using Generator generator = TextToImage.ReferenceGenerator(
            seed.ValueKind == JsonValueKind.Number ? seed.GetUInt64() : 0);
        check.Tensor("start_noise", randn(expectedNoise.shape, generator: generator));

        var sampler = new HeunSampler(new SamplerSettings
        {
            Steps = json.Member("num_inference_steps").GetInt32(),
            Guidance = Math.Max(1, json.Member("guidance_scale").GetDouble()), // As in the reference.
        });
        CaptionContext empty = pipeline.Condition(pipeline.Encode(""));
        float[] noise = expectedNoise.data<float>().ToArray();
        double[][] latents = pipeline.Sample([.. features.Select((feature, i) => (
            sampler, sampler.Start(noise.AsSpan(i * pipeline.LatentLength, pipeline.LatentLength)),
            pipeline.Condition(feature), empty))]);
        check.Numbers("latents", [.. latents.SelectMany(l => l)], CaseFolder.Numbers(folder.Expected("latents")));

        Tensor decoded = autoencoder.Decode(
            tensor(latents.SelectMany(l => l).Select(v => (float)v).ToArray(), expectedNoise.shape)
            / autoencoder.Config.ScalingFactor);
        check.Tensor("decoded", decoded);
        check.Tensor("image", ((decoded / 2) + 0.5).clamp(0, 1));
        OneLevel(
            check, "image_uint8_hwc", [.. latents.SelectMany(l => pipeline.Decode(l).Pixels)],
            folder.Expected("image_uint8_hwc").bytes.ToArray(), equalShare: 0);
    }

    private static void Distance(CaseFolder folder, Comparison check)
    {
        foreach (JsonElement row in folder.Json.Member("rows").EnumerateArray())
        {
            string name = row.Member("name").GetString()!;
            using FeatureStatistics first = Statistics($"{name}/features1"), second = Statistics($"{name}/features2");
            double expected = row.Member("frechet_by_eigenvalues").GetDouble();
            check.Within(
                name, Math.Abs(Frechet.Distance(first, second) - expected), row.Member("tolerance_abs").GetDouble());
            check.Within(
                $"{name} with itself", Math.Abs(Frechet.Distance(first, first)),
                row.Member("tolerance_same_set_abs").GetDouble());
        }

        FeatureStatistics Statistics(string input)
        {
            Tensor features = folder.Input(input, check);
            var statistics = new FeatureStatistics((int)features.shape[1]);
            statistics.Add(features);
            return statistics;
        }
    }

    private static void Inception(CaseFolder folder, Comparison check)
    {
        // The convolutions before the two max pools, and the last block before the auxiliary head.
        const string beforePool1 = "Conv2d_2b_3x3", beforePool2 = "Conv2d_4a_3x3", beforeAuxiliary = "Mixed_6e";
        using var network = new FidInceptionV3();
        double gain = folder.Json.TryGetProperty("weight_gain", out JsonElement value) ? value.GetDouble() : 1;
        FormulaWeights.Fill(network, folder.WeightPrefix, gain);
        using var taps = new Taps(network, [beforePool1, beforePool2, beforeAuxiliary]);
        foreach (IGrouping<string, string> outputs in folder.Json.Member("tolerance").EnumerateObject()
            .Select(t => t.Name).GroupBy(n => n.Split('/')[0]))
        {
            Tensor features = network.call(folder.Input(outputs.Key, check));
            foreach (string name in outputs)
            {
                check.Tensor(name, name.Split('/')[1] switch
                {
                    "pool3_2048" => features,
                    "pool1_mean_per_channel_64" => Pooled(taps[beforePool1]),
                    "pool2_mean_per_channel_192" => Pooled(taps[beforePool2]),
                    "preaux_mean_per_channel_768" => taps[beforeAuxiliary].mean([2, 3]),
                    var other => throw new RefusedFileException(
                        folder.Path, "tolerance", $"names the unknown output {other}."),
                });
            }
        }

        static Tensor Pooled(Tensor x) => nn.functional.max_pool2d(x, kernel_size: 3, stride: 2).mean([2, 3]);
    }

    private static void OneLevel(Comparison check, string name, byte[] actual, byte[] expected, double equalShare)
    {
        if (actual.Length != expected.Length)
        {
            check.Holds(name, false, $"has {actual.Length} samples, not {expected.Length}");
            return;
        }

        int worst = 0, equal = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            worst = Math.Max(worst, Math.Abs(actual[i] - expected[i]));
            equal += actual[i] == expected[i] ? 1 : 0;
        }

        check.Within(name, worst, 1);
        check.Holds(name, equal >= equalShare * actual.Length, $"only {equal} of {actual.Length} samples are equal");
    }

    // A tokenizer whose vocabulary has no merges, for a pipeline that starts from token ids.
    private static ClipTokenizer ByteTokenizer(int contextLength)
    {
        using var file = new MemoryStream();
        using (var packed = new GZipStream(file, CompressionLevel.Fastest, leaveOpen: true))
        {
            packed.Write("#version: none\n"u8);
        }

        file.Position = 0;
        return ClipTokenizer.Load(file, "no merges", contextLength);
    }

    // CLIP's vocabulary is published separately. In a tree of cases it is in the case's folder, a folder above, or the
    // folder of the CLIP cases.
    private static string? FindVocabulary(string path) => Above(path)
        .SelectMany(
            folder => new[] { Path.Combine(folder, VocabularyFile), Path.Combine(folder, "clip", VocabularyFile) })
        .Append(Environment.GetEnvironmentVariable(VocabularyVariable))
        .FirstOrDefault(File.Exists);

    private static IEnumerable<string> Above(string path)
    {
        for (DirectoryInfo? folder = new(path); folder is not null; folder = folder.Parent)
        {
            yield return folder.FullName;
        }
    }
}
