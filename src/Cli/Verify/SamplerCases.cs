// Cases of the sampler, and of the random numbers that a reference generation starts from.
using System.Text.Json;
using Atelier.Model.Diffusion;
using Atelier.Model.Networks;
using TorchSharp;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>Runs the cases of the topics <c>sampler</c> and <c>rng</c>.</summary>
internal static class SamplerCases
{
    /// <summary>The kinds of case, recognized by the contents of case.json.</summary>
    public static readonly CaseKind[] Kinds =
    [
        new("sampler with a network", json => json.Has("dit_config") && json.Has("steps"), WithNetwork),
        new("sampler in closed form", json => json.Has("mu") && json.Has("sd"), InClosedForm),
        new("torch's random numbers", json => json.Has("rows") && json.Member("rows")[0].Has("call"), Generator),
    ];

    // A record of a sampler's evaluations and states, for comparison with the reference's record.
    private sealed class Trace
    {
        public List<double> Latents { get; } = [];

        public List<double> Sigmas { get; } = [];

        public double[] FirstAnswer { get; set; } = [];

        public double[] LastAnswer { get; set; } = [];
    }

    private static void WithNetwork(CaseFolder folder, Comparison check)
    {
        using var network = new MicroDiT(MicroDiTConfig.FromJson(folder.Json.Member("dit_config")));
        FormulaWeights.Fill(network, folder.WeightPrefix);
        Edm edm = new() { SigmaData = folder.Json.Member("edm").Member("sigma_data").GetDouble() };
        Tensor x = folder.Input("x", check), y = folder.Input("y", check).squeeze(1);
        int batch = (int)x.shape[0];
        using var denoiser = new Denoiser(network, edm, 2 * batch);
        CaptionContext[] prompts = [.. Enumerable.Range(0, batch).Select(i => network.Caption(y.narrow(0, i, 1)))];
        CaptionContext empty = network.Caption(zeros_like(y.narrow(0, 0, 1)));

        // The reference applies guidance only above 1.
        double guidance = Math.Max(1, folder.Json.Member("cfg").GetDouble());
        HeunSampler sampler = MakeSampler(folder, check, guidance);
        (Trace trace, double[] final) = Sample(sampler, x, evaluation =>
        {
            int length = denoiser.LatentLength;
            return [.. denoiser.Evaluate([.. prompts.Select((prompt, i) => new DenoiserRequest(
                evaluation with { X = evaluation.X[(i * length)..((i + 1) * length)] }, prompt, empty))])
                .SelectMany(d => d)];
        });
        Compare(folder, check, sampler, trace, final);
    }

    private static void InClosedForm(CaseFolder folder, Comparison check)
    {
        double mu = folder.Json.Member("mu").GetDouble(), sd = folder.Json.Member("sd").GetDouble();
        HeunSampler sampler = MakeSampler(folder, check, guidance: 1);
        Tensor x = folder.Input("x", check);
        (Trace trace, double[] final) = Sample(
            sampler, x, e => [.. e.X.Select(v => Denoise((float)v, (float)e.Sigma))]);
        Compare(folder, check, sampler, trace, final);
        (trace, final) = Sample(sampler, x, e => [.. e.X.Select(v => Denoise(v, e.Sigma))]);
        check.Numbers("final_all_float64", final, CaseFolder.Numbers(folder.Expected("final_all_float64")));
        check.Numbers(
            "x_step_all_float64", [.. trace.Latents], CaseFolder.Numbers(folder.Expected("x_step_all_float64")));

        // The optimal denoiser for data with the distribution N(mu, sd²).
        double Denoise(double value, double sigma) =>
            ((sd * sd * value) + (sigma * sigma * mu)) / ((sd * sd) + (sigma * sigma));
    }

    private static HeunSampler MakeSampler(CaseFolder folder, Comparison check, double guidance)
    {
        JsonElement edm = folder.Json.Member("edm");
        var settings = new SamplerSettings
        {
            Steps = folder.Json.Member("steps").GetInt32(),
            SigmaMin = Number("sigma_min"),
            SigmaMax = Number("sigma_max"),
            Rho = Number("rho"),
            SChurn = Number("S_churn"),
            SMin = Number("S_min"),
            SMax = Number("S_max"),
            SNoise = Number("S_noise"),
            Guidance = guidance,
        };
        return new HeunSampler(settings, settings.SChurn == 0 ? null : Noise);

        double Number(string name) => edm.Member(name) is { ValueKind: JsonValueKind.String }
            ? double.PositiveInfinity
            : edm.Member(name).GetDouble();

        void Noise(int step, Span<double> destination)
        {
            using Tensor noise = folder.Input($"noise/step{step}", check);
            CaseFolder.Numbers(noise).CopyTo(destination);
        }
    }

    private static (Trace Trace, double[] Final) Sample(
        HeunSampler sampler, Tensor unitNoise, Func<Evaluation, double[]> denoise)
    {
        var trace = new Trace();
        SamplerState state = sampler.Start(unitNoise.data<float>().ToArray());
        while (!sampler.IsDone(state))
        {
            if (!state.IsCorrector)
            {
                trace.Latents.AddRange(state.Latent);
            }

            Evaluation evaluation = sampler.Next(state);
            trace.Sigmas.Add((float)evaluation.Sigma);
            trace.LastAnswer = denoise(evaluation);
            trace.FirstAnswer = trace.Sigmas.Count == 1 ? trace.LastAnswer : trace.FirstAnswer;
            state = sampler.Advance(state, trace.LastAnswer);
        }

        return (trace, state.Latent);
    }

    private static void Compare(CaseFolder folder, Comparison check, HeunSampler sampler, Trace trace, double[] final)
    {
        Dictionary<string, double[]> results = new(StringComparer.Ordinal)
        {
            ["x_step"] = [.. trace.Latents],
            ["final"] = [.. final.Select(v => (double)(float)v)],
            ["sigma_of_each_call"] = [.. trace.Sigmas],
            ["denoised_first_call"] = trace.FirstAnswer,
            ["denoised_last_call"] = trace.LastAnswer,
            ["t_steps"] = [.. sampler.Sigmas],
        };
        foreach (string name in folder.ExpectedNames.Where(results.ContainsKey))
        {
            check.Numbers(name, results[name], CaseFolder.Numbers(folder.Expected(name)));
        }
    }

    private static void Generator(CaseFolder folder, Comparison check)
    {
        double limit = folder.Json.Member("tolerance").Member("max_abs").GetDouble();
        foreach (JsonElement row in folder.Json.Member("rows").EnumerateArray())
        {
            string key = row.Member("key").GetString()!;
            long[] shape = [.. row.Member("shape").EnumerateArray().Select(n => n.GetInt64())];
            ScalarType type = row.Member("dtype").GetString() == "float64" ? ScalarType.Float64 : ScalarType.Float32;
            using var generator = new torch.Generator((ulong)row.Member("seed").GetInt64(), CPU);
            Tensor drawn = row.Member("call").GetString() == "randn"
                ? randn(shape, dtype: type, generator: generator)
                : rand(shape, dtype: type, generator: generator);
            (double error, _) = Comparison.Distance(
                CaseFolder.Numbers(drawn), CaseFolder.Numbers(folder.Expected(key)));
            check.Within(key, error, limit);
        }
    }
}
