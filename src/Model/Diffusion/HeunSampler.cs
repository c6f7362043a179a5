// Algorithm 2 of Karras et al. 2022 as a pure state machine. Each state requests one evaluation of the denoiser, and
// the result determines the next state. States consist of numbers only, so a picture can be suspended after any
// evaluation and resumed on another machine, and a batcher can interleave many pictures. This code is independent of
// networks, devices and threads.
using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Atelier.Model.Diffusion;

/// <summary>Settings of the sampler, with the paper's names.</summary>
public sealed record SamplerSettings
{
    /// <summary>Maximum number of steps.</summary>
    public const int StepsMax = 1000;

    /// <summary>
    /// Steps N >= 1. A picture takes 2 N - 1 evaluations: two for each step except the last, which is a plain Euler
    /// step.
    /// </summary>
    public int Steps { get; init; } = 30;

    /// <summary>Lowest noise level of the schedule above zero.</summary>
    public double SigmaMin { get; init; } = 0.002;

    /// <summary>Noise level of the first step.</summary>
    public double SigmaMax { get; init; } = 80;

    /// <summary>Exponent of the schedule: larger means finer steps at low noise.</summary>
    public double Rho { get; init; } = 7;

    /// <summary>Total amount of noise that all steps add, S_churn; 0 makes the sampler deterministic.</summary>
    public double SChurn { get; init; }

    /// <summary>Lowest noise level at which noise is added.</summary>
    public double SMin { get; init; }

    /// <summary>Highest noise level at which noise is added.</summary>
    public double SMax { get; init; } = double.PositiveInfinity;

    /// <summary>
    /// Standard deviation of added noise, slightly above 1 to compensate for a denoiser that removes too much.
    /// </summary>
    public double SNoise { get; init; } = 1;

    /// <summary>Classifier-free guidance scale; 1 means no guidance.</summary>
    public double Guidance { get; init; } = 1;

    /// <summary>
    /// Guidance acts at noise levels in (<see cref="GuidanceLow"/>, <see cref="GuidanceHigh"/>] only (Kynkäänniemi et
    /// al. 2024, arXiv 2404.07724). By default it acts at every noise level.
    /// </summary>
    public double GuidanceLow { get; init; }

    /// <summary>Upper end of the interval in which guidance acts.</summary>
    public double GuidanceHigh { get; init; } = double.PositiveInfinity;

    /// <summary>Returns these settings if they are valid.</summary>
    /// <exception cref="ArgumentException">A number is out of range; the message gives the valid range.</exception>
    public SamplerSettings Checked()
    {
        Require(Steps is >= 1 and <= StepsMax, $"Steps must be in 1..{StepsMax}, not {Steps}.");
        Require(
            SigmaMin >= 1e-6 && SigmaMax > SigmaMin && SigmaMax <= 1e6,
            "Noise levels must satisfy 1e-6 <= SigmaMin < SigmaMax <= 1e6.");
        Require(Rho is >= 1 and <= 100, $"Rho must be in 1..100, not {Rho}.");
        Require(SChurn >= 0 && double.IsFinite(SChurn), "Churn must not be negative.");
        Require(SMin >= 0 && SMax >= SMin, "Churn levels must satisfy 0 <= SMin <= SMax.");
        Require(SNoise is >= 0 and <= 2, $"SNoise must be in 0..2, not {SNoise}.");
        Require(Guidance is >= 1 and <= 100, $"Guidance must be in 1..100 (1 means none), not {Guidance}.");
        Require(
            GuidanceLow >= 0 && GuidanceHigh >= GuidanceLow, "The guidance interval must satisfy 0 <= low <= high.");
        return this;

        static void Require(bool holds, string rule)
        {
            if (!holds)
            {
                throw new ArgumentException(rule);
            }
        }
    }
}

/// <summary>An evaluation that a sampler waits for: D(x; σ) at a guidance scale.</summary>
/// <param name="X">Noisy latent, flattened.</param>
/// <param name="Sigma">Noise level.</param>
/// <param name="Guidance">Guidance scale; 1 needs only the prompt.</param>
public sealed record Evaluation(double[] X, double Sigma, double Guidance);

/// <summary>The state of a picture between two evaluations.</summary>
/// <param name="Step">Step in 0..N; N means done.</param>
/// <param name="Latent">x at the start of the step or, if the corrector is next, x̂, the latent after churn.</param>
/// <param name="Derivative">The predictor's dx/dσ if the corrector is next, otherwise null.</param>
public sealed record SamplerState(int Step, double[] Latent, double[]? Derivative)
{
    private const uint Magic = 0x31535441; // "ATS1", little-endian

    /// <summary>Whether the second-order correction of the step is next.</summary>
    public bool IsCorrector => Derivative is not null;

    /// <summary>
    /// The state as bytes: magic, step, length, corrector flag, then float64 numbers, all little-endian.
    /// </summary>
    public byte[] ToBytes()
    {
        var bytes = new byte[16 + (8 * (Latent.Length + (Derivative?.Length ?? 0)))];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), Step);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), Latent.Length);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(12), IsCorrector ? 1 : 0);
        MemoryMarshal.AsBytes(Latent.AsSpan()).CopyTo(bytes.AsSpan(16));
        MemoryMarshal.AsBytes(Derivative.AsSpan()).CopyTo(bytes.AsSpan(16 + (8 * Latent.Length)));
        return bytes;
    }

    /// <summary>Reads a state from the bytes that <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="FormatException">The bytes are not a sampler state, or are truncated.</exception>
    /// <exception cref="NonFiniteException">The state holds NaN or infinity, so it cannot be resumed.</exception>
    public static SamplerState FromBytes(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < 16 || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != Magic)
        {
            throw new FormatException("These bytes are not a sampler state.");
        }

        int step = BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]);
        int length = BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]);
        int corrector = BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]);
        if (step is < 0 or > SamplerSettings.StepsMax || length <= 0 || corrector is not (0 or 1)
            || bytes.Length != 16 + (8L * length * (1 + corrector)))
        {
            throw new FormatException(
                $"A sampler state of step {step} with {length} numbers does not match {bytes.Length} bytes.");
        }

        ReadOnlySpan<double> numbers = MemoryMarshal.Cast<byte, double>(bytes[16..]);
        Finite.Check($"stored state of step {step}", numbers);
        return new SamplerState(step, numbers[..length].ToArray(), corrector == 1 ? numbers[length..].ToArray() : null);
    }
}

/// <summary>
/// Fills the destination with the churn noise of a step: standard normal numbers that depend only on the step.
/// </summary>
/// <param name="step">Step, from 0.</param>
/// <param name="destination">Receives as many numbers as the latent has.</param>
public delegate void ChurnNoise(int step, Span<double> destination);

/// <summary>Heun's second-order sampler of the probability flow ODE, with optional churn.</summary>
public sealed class HeunSampler
{
    private readonly SamplerSettings _settings;
    private readonly ChurnNoise? _churn;
    private readonly Action<double[], double>? _project;

    /// <summary>Creates a sampler.</summary>
    /// <param name="settings">The sampler's settings.</param>
    /// <param name="churn">Source of churn noise; required if <see cref="SamplerSettings.SChurn"/> is above 0.</param>
    /// <param name="project">
    /// Called after each step with the new latent and its noise level; it may change the latent in place, for example
    /// to keep the known part of a picture. It must depend only on its arguments.
    /// </param>
    /// <exception cref="ArgumentException">The settings are not valid.</exception>
    public HeunSampler(SamplerSettings settings, ChurnNoise? churn = null, Action<double[], double>? project = null)
    {
        _settings = settings.Checked();
        _churn = settings.SChurn == 0 || churn is not null
            ? churn
            : throw new ArgumentException("Churn requires a source of noise.", nameof(churn));
        _project = project;
        Sigmas = Schedule(settings);
    }

    /// <summary>Noise levels at the start of each step, and 0 at the end: N + 1 values (Eq. 5).</summary>
    public IReadOnlyList<double> Sigmas { get; }

    /// <summary>The first state, from standard normal noise.</summary>
    public SamplerState Start(ReadOnlySpan<float> unitNoise)
    {
        var latent = new double[unitNoise.Length];
        for (int i = 0; i < latent.Length; i++)
        {
            latent[i] = unitNoise[i] * Sigmas[0];
        }

        return new SamplerState(0, latent, null);
    }

    /// <summary>The state at the start of a step, from a latent that already has that step's noise.</summary>
    public SamplerState StartAt(int step, double[] latent)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(step, _settings.Steps);
        return new SamplerState(step, latent, null);
    }

    /// <summary>
    /// Whether the picture is complete; if so, <see cref="SamplerState.Latent"/> is the clean latent.
    /// </summary>
    /// <exception cref="ArgumentException">The state does not belong to a picture with these settings.</exception>
    public bool IsDone(SamplerState state)
    {
        // Snapshots are external input, so the step is checked. The last step has no corrector.
        int steps = _settings.Steps;
        return state.Step >= 0 && state.Step <= (state.IsCorrector ? steps - 2 : steps)
            ? state.Step == steps
            : throw new ArgumentException(
                $"A {(state.IsCorrector ? "corrector" : "state")} at step {state.Step} cannot occur in a picture with "
                + $"{steps} steps.",
                nameof(state));
    }

    /// <summary>The evaluation that <paramref name="state"/> waits for.</summary>
    /// <exception cref="InvalidOperationException">The picture is complete.</exception>
    public Evaluation Next(SamplerState state)
    {
        ThrowIfDone(state);
        (double[] x, double sigma) = state.IsCorrector ? Predicted(state) : Churned(state);
        bool guided = sigma > _settings.GuidanceLow && sigma <= _settings.GuidanceHigh;
        return new Evaluation(x, sigma, guided ? _settings.Guidance : 1);
    }

    /// <summary>The state after the evaluation that <paramref name="state"/> waited for.</summary>
    /// <param name="state">The state whose <see cref="Next"/> was evaluated.</param>
    /// <param name="denoised">D(x; σ), as many numbers as the latent has.</param>
    /// <exception cref="ArgumentException">The result and the latent differ in length.</exception>
    public SamplerState Advance(SamplerState state, ReadOnlySpan<double> denoised)
    {
        ThrowIfDone(state);
        if (denoised.Length != state.Latent.Length)
        {
            throw new ArgumentException(
                $"The result has {denoised.Length} numbers, the latent {state.Latent.Length}.", nameof(denoised));
        }

        return state.IsCorrector ? Correct(state, denoised) : Predict(state, denoised);
    }

    // Euler's step: d = (x̂ - D(x̂; t̂)) / t̂, x' = x̂ + (t' - t̂) d. The result is final if t' is 0.
    private SamplerState Predict(SamplerState state, ReadOnlySpan<double> denoised)
    {
        (double[] xHat, double tHat) = Churned(state);
        double tNext = Sigmas[state.Step + 1];
        var derivative = new double[xHat.Length];
        for (int i = 0; i < xHat.Length; i++)
        {
            derivative[i] = (xHat[i] - denoised[i]) / tHat;
        }

        var corrector = new SamplerState(state.Step, xHat, derivative);
        return tNext == 0 ? Finish(state.Step, Predicted(corrector).X) : corrector;
    }

    // Heun's correction: d' = (x' - D(x'; t')) / t', x = x̂ + (t' - t̂) (d + d') / 2.
    private SamplerState Correct(SamplerState state, ReadOnlySpan<double> denoised)
    {
        (double[] x, double tNext) = Predicted(state);
        double step = tNext - Level(state.Step);
        for (int i = 0; i < x.Length; i++)
        {
            double slope = (x[i] - denoised[i]) / tNext;
            x[i] = state.Latent[i] + (step * ((0.5 * state.Derivative![i]) + (0.5 * slope)));
        }

        return Finish(state.Step, x);
    }

    private SamplerState Finish(int step, double[] latent)
    {
        _project?.Invoke(latent, Sigmas[step + 1]);
        return new SamplerState(step + 1, latent, null);
    }

    // x̂ = x + √(t̂² - t²) S_noise ε and its noise level t̂.
    private (double[] X, double Sigma) Churned(SamplerState state)
    {
        (double t, double tHat) = (Sigmas[state.Step], Level(state.Step));
        var x = (double[])state.Latent.Clone();
        if (tHat > t)
        {
            var noise = new double[x.Length];
            _churn!(state.Step, noise);
            double scale = Math.Sqrt((tHat * tHat) - (t * t)) * _settings.SNoise;
            for (int i = 0; i < x.Length; i++)
            {
                x[i] += scale * noise[i];
            }
        }

        return (x, tHat);
    }

    // The latent x' that the predictor's slope leads to, and its noise level.
    private (double[] X, double Sigma) Predicted(SamplerState state)
    {
        double tNext = Sigmas[state.Step + 1], step = tNext - Level(state.Step);
        var x = new double[state.Latent.Length];
        for (int i = 0; i < x.Length; i++)
        {
            x[i] = state.Latent[i] + (step * state.Derivative![i]);
        }

        return (x, tNext);
    }

    // t̂ = t + γ t with γ = min(S_churn / N, √2 - 1) inside [S_min, S_max].
    private double Level(int step)
    {
        double t = Sigmas[step];
        bool churned = t >= _settings.SMin && t <= _settings.SMax;
        return t + (churned ? Math.Min(_settings.SChurn / _settings.Steps, Math.Sqrt(2) - 1) * t : 0);
    }

    private void ThrowIfDone(SamplerState state)
    {
        if (IsDone(state))
        {
            throw new InvalidOperationException("The picture is complete: nothing is left to evaluate.");
        }
    }

    private static double[] Schedule(SamplerSettings settings)
    {
        double first = Math.Pow(settings.SigmaMax, 1 / settings.Rho);
        double last = Math.Pow(settings.SigmaMin, 1 / settings.Rho);
        var sigmas = new double[settings.Steps + 1];
        for (int i = 0; i < settings.Steps; i++)
        {
            double way = settings.Steps == 1 ? 0 : i / (settings.Steps - 1.0);
            sigmas[i] = Math.Pow(first + (way * (last - first)), settings.Rho);
        }

        return sigmas;
    }
}
