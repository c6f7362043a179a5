// Cases of the denoising network and its building blocks.
using System.Globalization;
using System.Text.Json;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Cli.Verify;

/// <summary>Runs the cases of the topic <c>dit</c>.</summary>
internal static class DitCases
{
    /// <summary>The kinds of case, recognized by the contents of case.json.</summary>
    public static readonly CaseKind[] Kinds =
    [
        new("DiT", json => json.Has("config", "input_size") && json.Has("calls"), Network),
        new("expert-choice layer", json =>
            json.Has("config", "expert_capacity") && json.Has("tokens_per_expert"), Experts),
        new("layer norm", json =>
            json.Has("tolerance") && Names(json).Any(n => n.EndsWith("/np_layernorm", StringComparison.Ordinal)), Norm),
        new("timestep embedding", json => json.Has("tolerance", "frequency_embedding"), Timestep),
        new("position table", json => json.Has("cases") && json.Member("cases")[0].Has("embed_dim"), Positions),
        new("mask lengths", json => json.Has("rows") && json.Member("rows")[0].Has("len_keep"), MaskLengths),
    ];

    private static IEnumerable<string> Names(JsonElement json) =>
        json.Member("tolerance").EnumerateObject().Select(t => t.Name);

    private static void Network(CaseFolder folder, Comparison check)
    {
        MicroDiTConfig config = MicroDiTConfig.FromJson(folder.Json.Member("config"));
        using var network = new MicroDiT(config);
        CheckKeys(network, folder.Json.Member("state_dict"), check);
        FormulaWeights.Fill(network, folder.WeightPrefix);
        using var taps = new Taps(network, TappedModules(config, Names(folder.Json)));
        Tensor x = folder.Input("x", check), t = folder.Input("t", check), y = folder.Input("y", check).squeeze(1);
        using CaptionContext caption = network.Caption(y);
        if (Names(folder.Json).Contains("pos_embed"))
        {
            check.Tensor("pos_embed", network.get_buffer("pos_embed")!);
        }

        foreach (string name in Names(folder.Json).Where(n => n.StartsWith("sample", StringComparison.Ordinal)))
        {
            using var scope = NewDisposeScope();
            Tensor result = name.StartsWith("sample_cfg", StringComparison.Ordinal)
                ? Guided(
                    network, x, t, y, caption, double.Parse(name["sample_cfg".Length..], CultureInfo.InvariantCulture))
                : network.call(x, name == "sample_t_len1" ? t[..1] : t, caption);
            check.Tensor(name, result);
            if (name == "sample")
            {
                CompareTaps(folder, check, taps, "", mask: null);
            }
        }

        foreach (IGrouping<string, string> masked in Names(folder.Json)
            .Where(n => n.StartsWith("mask", StringComparison.Ordinal)).GroupBy(n => n[..n.IndexOf('/')]))
        {
            using var scope = NewDisposeScope();
            double ratio = double.Parse(masked.Key["mask".Length..], CultureInfo.InvariantCulture);
            Tensor noise = folder.Input($"{masked.Key}/noise", check);
            PatchMask mask = PatchMask.FromNoise(noise.data<float>().ToArray(), (int)noise.shape[0], ratio);
            check.Tensor($"{masked.Key}/sample", network.Predict(x, t, caption, mask));
            check.Tensor($"{masked.Key}/ids_keep", mask.Keep);
            check.Tensor($"{masked.Key}/ids_restore", mask.Restore);
            check.Tensor($"{masked.Key}/mask", mask.Masked);
            CompareTaps(folder, check, taps, masked.Key + "/", mask);
        }
    }

    private static Tensor Guided(MicroDiT network, Tensor x, Tensor t, Tensor y, CaptionContext caption, double scale)
    {
        using CaptionContext empty = network.Caption(zeros_like(y));
        using CaptionContext both = CaptionContext.Join([caption, empty]);
        Tensor[] halves = network.call(cat([x, x]), cat([t, t]), both).chunk(2);
        return Guidance.Combine(halves[0], halves[1], scale);
    }

    private static IEnumerable<string> TappedModules(MicroDiTConfig config, IEnumerable<string> outputs) => outputs
        .Where(n => n.Contains("tap/", StringComparison.Ordinal))
        .Select(n => n[(n.IndexOf("tap/", StringComparison.Ordinal) + 4)..])
        .Concat(["x_embedder", "t_embedder", "y_emb_preprocess", "pooled_y_emb_process",
            $"patch_mixer.{config.PatchMixerDepth - 1}"]);

    private static void CompareTaps(CaseFolder folder, Comparison check, Taps taps, string prefix, PatchMask? mask)
    {
        string start = prefix + "tap/";
        foreach (string name in Names(folder.Json).Where(n => n.StartsWith(start, StringComparison.Ordinal)))
        {
            using var scope = NewDisposeScope();
            check.Tensor(name, name[start.Length..] switch
            {
                "x_embed_plus_pos" => taps["x_embedder"] + Positions(),
                "conditioning_t_plus_pooled_y" => taps["t_embedder"] + taps["pooled_y_emb_process"],
                "pooled_y" => taps["pooled_y_emb_process"],

                // If mixer and backbone have the same width, the map layers do not exist, and their expected outputs
                // are their inputs.
                "patch_mixer_map_xin" when !taps.Has("patch_mixer_map_xin") => taps["x_embedder"] + Positions(),
                "patch_mixer_map_y" when !taps.Has("patch_mixer_map_y") => taps["y_emb_preprocess"],
                "patch_mixer_map_xout" when !taps.Has("patch_mixer_map_xout") =>
                    mask?.Select(LastOfMixer()) ?? LastOfMixer(),
                var module => taps[module],
            });
        }

        Tensor Positions()
        {
            MicroDiTConfig config = MicroDiTConfig.FromJson(folder.Json.Member("config"));
            return tensor(
                PositionTable.Build(config.Dim, config.Grid, config.PosInterpScale, config.Grid),
                [1, config.Tokens, config.Dim]);
        }

        Tensor LastOfMixer() =>
            taps[$"patch_mixer.{folder.Json.Member("config").Member("patch_mixer_depth").GetInt32() - 1}"];
    }

    private static void Experts(CaseFolder folder, Comparison check)
    {
        JsonElement config = folder.Json.Member("config");
        int multiple = config.Member("multiple_of").GetInt32(), hidden = config.Member("hidden_dim").GetInt32();
        using var layer = new ExpertChoiceFeedForward(
            config.Member("num_experts").GetInt32(), config.Member("expert_capacity").GetDouble(),
            config.Member("dim").GetInt32(), (hidden + multiple - 1) / multiple * multiple);
        CheckKeys(layer, folder.Json.Member("state_dict"), check);
        FormulaWeights.Fill(layer, folder.WeightPrefix);
        Tensor x = folder.Input("x", check);
        check.Equal(
            "tokens_per_expert", [layer.TokensPerExpert(x.shape[1])],
            [folder.Json.Member("tokens_per_expert").GetInt32()]);
        ExpertChoice choice = layer.Choose(x);
        Tensor output = layer.call(x);
        check.Tensor("probs", choice.Probabilities);
        check.Tensor("gate_of_expert", choice.Gates);
        Tensor times = TimesChosen(choice.Tokens, x.shape[1]);
        int[][] groups = folder.Json.Member("tie_groups") is { ValueKind: JsonValueKind.Array } ties
            ? [.. ties.EnumerateArray().Select(g => g.EnumerateArray().Select(n => n.GetInt32()).ToArray())]
            : [];
        using Tensor expectedTokens = folder.Expected("tokens_of_expert");
        check.Equal("tokens_of_expert", AsSets(choice.Tokens, groups), AsSets(expectedTokens, groups));
        if (groups.Length == 0)
        {
            check.Tensor("times_chosen", times);
            check.Tensor("out", output);
            return;
        }

        // Tokens of a group are equal, so an expert may take any of them: compare the rows outside the groups, and sums
        // over the groups.
        Tensor free = tensor(
            Enumerable.Range(0, (int)x.shape[1]).Except(groups.SelectMany(g => g)).Select(n => (long)n).ToArray());
        check.Numbers("times_chosen", Rows(times, free), Rows(folder.Expected("times_chosen"), free));
        check.Numbers("out", Rows(output, free), Rows(folder.Expected("out"), free));
        check.Tensor("out_group_sum", GroupSums(output));
        check.Tensor("times_chosen_group_sum", GroupSums(times));

        double[] Rows(Tensor all, Tensor rows) => CaseFolder.Numbers(all.index_select(1, rows));
        Tensor GroupSums(Tensor all) => stack(
            [.. groups.Select(g => all.index_select(1, tensor(g.Select(n => (long)n).ToArray())).sum(1))], dim: 1);
    }

    // The order of tokens within an expert's choice is unspecified, so they are sorted. Every token of a tie group is
    // replaced by the group's first token.
    private static long[] AsSets(Tensor tokens, int[][] groups)
    {
        if (tokens.numel() == 0)
        {
            return [];
        }

        long k = tokens.shape[^1];
        return
        [
            .. tokens.reshape(-1).data<long>().ToArray().Select(Stand).Chunk((int)k)
                .SelectMany(chosen => chosen.Order()),
        ];

        long Stand(long token) => groups.FirstOrDefault(g => g.Contains((int)token)) is { } group ? group[0] : token;
    }

    private static Tensor TimesChosen(Tensor tokens, long count)
    {
        Tensor flat = tokens.reshape(tokens.shape[0], -1);
        return zeros([tokens.shape[0], count], dtype: ScalarType.Int64).scatter_add(1, flat, ones_like(flat));
    }

    private static void Norm(CaseFolder folder, Comparison check)
    {
        foreach (string name in Names(folder.Json))
        {
            string input = name[..name.LastIndexOf('/')];
            Tensor x = folder.Input(input, check);
            bool weight = !name.EndsWith("/np_layernorm", StringComparison.Ordinal);
            using var norm = new LayerNorm(x.shape[^1], 1e-6, weight);
            FormulaWeights.Fill(norm, folder.WeightPrefix);
            check.Tensor(name, norm.call(x));
        }
    }

    private static void Timestep(CaseFolder folder, Comparison check)
    {
        using var embedder = new TimestepEmbedder(folder.Json.Member("hidden_size").GetInt32());
        CheckKeys(embedder, folder.Json.Member("state_dict"), check);
        FormulaWeights.Fill(embedder, folder.WeightPrefix);
        Tensor t = folder.Input("t", check);
        foreach (string name in Names(folder.Json))
        {
            int width = name.StartsWith("frequency_embedding_odd_dim_", StringComparison.Ordinal)
                ? int.Parse(name["frequency_embedding_odd_dim_".Length..], CultureInfo.InvariantCulture)
                : TimestepEmbedder.Frequencies;
            check.Tensor(name, name == "out" ? embedder.call(t) : TimestepEmbedder.Sinusoids(t, width));
        }
    }

    private static void Positions(CaseFolder folder, Comparison check)
    {
        foreach (JsonElement row in folder.Json.Member("cases").EnumerateArray())
        {
            int width = row.Member("embed_dim").GetInt32();
            float[] table = PositionTable.Build(
                width, row.Member("grid_size").GetInt32(), row.Member("pos_interp_scale").GetDouble(),
                row.Member("base_size").GetInt32());
            check.Tensor(row.Member("key").GetString()!, tensor(table, [table.Length / width, width]));
        }
    }

    private static void MaskLengths(CaseFolder folder, Comparison check)
    {
        foreach (JsonElement row in folder.Json.Member("rows").EnumerateArray())
        {
            int length = row.Member("length").GetInt32();
            double ratio = row.Member("mask_ratio").GetDouble();
            check.Equal(
                $"{length} at {ratio}", [PatchMask.Truncated(length, ratio)], [row.Member("len_keep").GetInt32()]);
        }
    }

    /// <summary>
    /// Compares a network's parameters and buffers with a list: names and shapes, and types and kinds if the list has
    /// them.
    /// </summary>
    internal static void CheckKeys(
        Module network, JsonElement expected, Comparison check, Func<string, bool>? isOptional = null)
    {
        var own = network.named_parameters().Select(p => (p.name, tensor: (Tensor)p.parameter, kind: "parameter"))
            .Concat(network.named_buffers().Select(b => (b.name, tensor: b.buffer, kind: "buffer")))
            .Select(t => (t.name, type: t.tensor.dtype.ToString().ToLowerInvariant(), t.tensor.shape, t.kind))
            .ToArray();
        string[] actual = [.. own.Select(t => Describe(t.name, t.type, t.shape, t.kind))];
        string[] wanted =
        [
            .. expected.EnumerateArray().Select(entry =>
            {
                string name = entry.Member("name").GetString()!;
                var here = own.FirstOrDefault(t => t.name == name);
                return Describe(
                    name, Text(entry, "dtype") ?? here.type,
                    [.. entry.Member("shape").EnumerateArray().Select(n => n.GetInt64())],
                    Text(entry, "kind") ?? here.kind);
            }),
        ];
        string[] missing = [.. wanted.Except(actual).Where(n => isOptional?.Invoke(n) != true)];
        string[] extra = [.. actual.Except(wanted).Where(n => isOptional?.Invoke(n) != true)];
        check.Holds(
            "state dict", missing.Length + extra.Length == 0,
            $"missing {string.Join("; ", missing.Take(5))}, unexpected {string.Join("; ", extra.Take(5))}");

        static string Describe(string name, string? type, long[] shape, string? kind) =>
            $"{name} {type} [{string.Join(", ", shape)}] {kind}";

        static string? Text(JsonElement entry, string member) =>
            entry.TryGetProperty(member, out JsonElement value) ? value.GetString() : null;
    }
}
