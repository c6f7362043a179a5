// Cases of preconditioning, loss, learning rate and the training step.
using System.Text.Json;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using Atelier.Model.Training;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>Runs the cases of the topic <c>edm</c>.</summary>
internal static class TrainingCases
{
    /// <summary>The kinds of case, recognized by the contents of case.json.</summary>
    public static readonly CaseKind[] Kinds =
    [
        new("preconditioning", json => json.Has("rows") && json.Member("rows")[0].Has("c_skip"), Preconditioning),
        new("learning rate", json => json.Has("cases") && json.Member("cases")[0].Has("t_warmup_ba"), Schedule),
        new("loss and gradients", json => json.Has("dit_config") && json.Has("random_inputs"), Loss),
        new("training steps", json => json.Has("dit_config") && json.Has("optimizer"), Steps),
    ];

    private static void Preconditioning(CaseFolder folder, Comparison check)
    {
        var edm = new Edm();
        double limit = folder.Json.Member("tolerance").Member("rel").GetDouble();
        foreach (JsonElement row in folder.Json.Member("rows").EnumerateArray())
        {
            double sigma = row.Member("sigma").GetDouble();
            Preconditioning at = edm.At(sigma);
            Relative(check, row, "loss_weight", edm.LossWeight(sigma), limit);
            Relative(check, row, "c_in", at.In, limit);
            Relative(check, row, "c_noise", at.Noise, limit);
            Relative(check, row, "c_skip", at.Skip, limit);
            Relative(check, row, "c_out", at.Out, limit);
        }
    }

    private static void Schedule(CaseFolder folder, Comparison check)
    {
        double limit = folder.Json.Member("tolerance").Member("rel").GetDouble();
        foreach (JsonElement schedule in folder.Json.Member("cases").EnumerateArray())
        {
            LearningRate rate = ReadSchedule(schedule, schedule.Member("lr").GetDouble()) with { LagsOneBatch = false };
            foreach (JsonElement row in schedule.Member("values").EnumerateArray())
            {
                long batch = row.Member("t_batches").GetInt64();
                Relative(check, row, "multiplier", rate.Multiplier(batch), limit);
                Relative(check, row, "lr", rate.At(batch), limit);
            }
        }
    }

    private static LearningRate ReadSchedule(JsonElement json, double baseRate) => new()
    {
        Shape = ScheduleShape.Cosine,
        Base = baseRate,
        WarmupSteps = json.Member("t_warmup_ba").GetInt64(),
        TotalSteps = json.Member("t_max_ba").GetInt64(),
        FinalFraction = json.Member("alpha_f").GetDouble(),
    };

    private static Edm ReadEdm(JsonElement json) => new()
    {
        SigmaData = json.TryGetProperty("sigma_data", out JsonElement sigma) ? sigma.GetDouble() : 0.9,
        PMean = json.Member("P_mean").GetDouble(),
        PStd = json.Member("P_std").GetDouble(),
    };

    private static void Loss(CaseFolder folder, Comparison check)
    {
        using MicroDiT network = MakeNetwork(folder);
        Edm edm = ReadEdm(folder.Json);
        double ratio = folder.Json.Member("mask_ratio").GetDouble();
        using ShardBatch batch = ReadBatch(folder, check, "", ratio, edm);
        using IDisposable gradients = enable_grad();
        using CaptionContext captions = network.Caption(batch.Captions);
        (Tensor perSample, Tensor denoised) = edm.Loss(
            network, batch.Latents, captions, batch.NoiseLevels, batch.UnitNoise, batch.Mask);
        Tensor loss = perSample.mean();
        loss.backward();
        check.Tensor("loss", loss);
        check.Tensor("sigma", tensor(batch.NoiseLevels));
        check.Tensor("weight", tensor(batch.NoiseLevels.Select(edm.LossWeight).ToArray()));
        check.Tensor("denoised", denoised);
        foreach ((string name, TorchSharp.Modules.Parameter parameter) in network.named_parameters())
        {
            check.Tensor($"grad/{name}", parameter.grad ?? zeros_like(parameter));
        }
    }

    private static void Steps(CaseFolder folder, Comparison check)
    {
        foreach (string variant in folder.Json.Member("variants").EnumerateObject().Select(v => v.Name))
        {
            // The case expects two averages of one training run. The run is repeated for each, but its weights are
            // compared once.
            Train(folder, check, variant, emaStart: 0, "ema");
            Train(folder, check, variant, emaStart: 1, "ema_started_after_step1");
        }
    }

    private static void Train(CaseFolder folder, Comparison check, string variant, long emaStart, string emaName)
    {
        using IDisposable gradients = enable_grad();
        using MicroDiT network = MakeNetwork(folder);
        JsonElement json = folder.Json, optimizer = json.Member("optimizer"), betas = optimizer.Member("betas");
        LearningRate schedule = ReadSchedule(json.Member("scheduler"), optimizer.Member("lr").GetDouble());
        var settings = new TrainingSettings
        {
            Edm = ReadEdm(json),
            MaskRatio = json.Member("mask_ratio").GetDouble(),
            Microbatch = json.Member("batch").GetInt32(),
            LearningRate = schedule with { LagsOneBatch = variant == "lag1" },
            Optimizer = new AdamWSettings
            {
                Beta1 = betas[0].GetDouble(),
                Beta2 = betas[1].GetDouble(),
                Epsilon = optimizer.Member("eps").GetDouble(),
                WeightDecay = optimizer.Member("weight_decay").GetDouble(),
            },
            ClipNorm = json.Member("clip_norm").GetDouble(),
            EmaSmoothing = json.Member("ema_smoothing").GetDouble(),
            EmaStart = emaStart,
        };
        using var engine = new TrainingEngine(network, settings, new StoredShards(folder, check, settings));
        using Tensor initial = engine.Master.Weights.detach().clone();
        int steps = json.Member("series").Member(variant).Member("losses").GetArrayLength();
        var outcomes = new List<StepOutcome>();
        for (int step = 0; step < steps; step++)
        {
            outcomes.Add(engine.Apply(step, engine.ComputeBatch(step)));
        }

        CompareNamed(folder, check, engine, engine.Master.Average!, $"{variant}/{emaName}/");
        if (emaStart == 0)
        {
            Series(folder, check, variant, "losses", [.. outcomes.Select(o => o.Loss)]);
            Series(folder, check, variant, "grad_norms", [.. outcomes.Select(o => o.GradientNorm)]);
            Series(folder, check, variant, "lr", [.. outcomes.Select(o => o.LearningRate)]);
            CompareFinal(folder, check, engine, initial, variant);
        }
    }

    private static void Series(CaseFolder folder, Comparison check, string variant, string name, double[] actual) =>
        check.Numbers($"{variant}/{name}", actual,
            [.. folder.Json.Member("series").Member(variant).Member(name).EnumerateArray().Select(n => n.GetDouble())]);

    private static void CompareNamed(
        CaseFolder folder, Comparison check, TrainingEngine engine, Tensor flat, string prefix)
    {
        foreach ((string name, Tensor view) in engine.Master.Named(flat))
        {
            check.Tensor(prefix + name, view);
        }
    }

    // A weight with a gradient near zero may move in either direction in AdamW's first steps, which depend only on the
    // gradient's sign. If a weight exceeds its tolerance, the update of the whole tensor is compared instead.
    private static void CompareFinal(
        CaseFolder folder, Comparison check, TrainingEngine engine, Tensor initial, string variant)
    {
        double limit = folder.Json.Member("whole_update_check").Member("rel_l2_limit").Member(variant).GetDouble();
        foreach (((string name, Tensor final), (_, Tensor start)) in engine.Master.Named(engine.Master.Weights)
            .Zip(engine.Master.Named(initial)))
        {
            string key = $"{variant}/final/{name}";
            double[] actual = CaseFolder.Numbers(final), before = CaseFolder.Numbers(start);
            double[] expected = CaseFolder.Numbers(folder.Expected(key));
            double allowed = folder.Json.Member("tolerance").Member(key).Member("max_abs").GetDouble();
            (double error, _) = Comparison.Distance(actual, expected);
            if (error <= allowed)
            {
                check.Within(key, error, allowed);
                continue;
            }

            double difference = 0, update = 0;
            for (int i = 0; i < actual.Length; i++)
            {
                difference += Math.Pow(actual[i] - expected[i], 2);
                update += Math.Pow(expected[i] - before[i], 2);
            }

            check.Within(key, Math.Sqrt(difference / update), limit);
        }
    }

    private static MicroDiT MakeNetwork(CaseFolder folder)
    {
        var network = new MicroDiT(MicroDiTConfig.FromJson(folder.Json.Member("dit_config")));
        FormulaWeights.Fill(network, folder.WeightPrefix);
        return network;
    }

    private static ShardBatch ReadBatch(CaseFolder folder, Comparison check, string prefix, double ratio, Edm edm)
    {
        Tensor captions = folder.Input(prefix + "y", check).squeeze(1);
        if (folder.HasInput(prefix + "drop_caption_mask"))
        {
            captions *= folder.Input(prefix + "drop_caption_mask", check).to(ScalarType.Float32).view(-1, 1, 1);
        }

        double[] levels = [.. CaseFolder.Numbers(folder.Input(prefix + "rnd_normal", check)).Select(edm.NoiseLevel)];
        PatchMask? mask = ratio == 0 ? null : PatchMask.FromNoise(
            folder.Input(prefix + "mask_noise", check).data<float>().ToArray(), levels.Length, ratio);
        if (mask is null)
        {
            folder.Input(prefix + "mask_noise", check).Dispose();
        }

        return new ShardBatch(
            folder.Input(prefix + "x", check), captions, levels, folder.Input(prefix + "n_unit", check), mask);
    }

    private static void Relative(Comparison check, JsonElement row, string name, double actual, double limit)
    {
        double expected = row.Member(name).GetDouble();
        double error = expected == 0 ? Math.Abs(actual) : Math.Abs(actual - expected) / Math.Abs(expected);
        check.Within($"{name} at {row.EnumerateObject().First().Value.GetRawText()}", error, limit);
    }

    // The stored batches of a case.
    private sealed class StoredShards(CaseFolder folder, Comparison check, TrainingSettings settings) : IShardSource
    {
        public ShardBatch Read(long step, int shard) =>
            ReadBatch(folder, check, $"step{step}/", settings.MaskRatio, settings.Edm);
    }
}
