// What to do about a loss or gradient that is no number, or suddenly far too large.
namespace Atelier.Training;

/// <summary>What becomes of a step.</summary>
public enum StepVerdict
{
    /// <summary>It is applied.</summary>
    Apply,

    /// <summary>Its slice of the data is skipped, and stands in the ledger.</summary>
    Skip,

    /// <summary>The run returns to its last checkpoint and skips the slices that led here.</summary>
    GoBack,
}

/// <summary>What the policy remembers between steps. It is part of a checkpoint.</summary>
/// <param name="Applied">Steps applied so far.</param>
/// <param name="LogNorm">Moving average of the logarithm of the gradient norm.</param>
/// <param name="SkippedInARow">Steps skipped since the last that was applied.</param>
/// <param name="Returns">Times that the run has gone back.</param>
/// <param name="LogLoss">Moving average of the logarithm of the loss.</param>
public readonly record struct PolicyMemory(
    long Applied, double LogNorm, int SkippedInARow, int Returns, double LogLoss);

/// <summary>
/// A pure function of the reduced loss and gradient norm and of what it decided before, so that every replica and every
/// resumed run decides alike. A loss or norm that is no finite number is skipped; so is a loss or norm above
/// <see cref="SpikeFactor"/> times its moving average, once <see cref="Warmup"/> steps have made one. After
/// <see cref="Patience"/> skips in a row the run goes back.
/// </summary>
public sealed record StepPolicy
{
    private const double Memory = 0.98;

    /// <summary>Loss or norm over its moving average from which a step is a spike.</summary>
    public double SpikeFactor { get; init; } = 20;

    /// <summary>Skips in a row that the run bears.</summary>
    public int Patience { get; init; } = 8;

    /// <summary>Times that a stage may go back; then it has diverged.</summary>
    public int ReturnsMax { get; init; } = 3;

    /// <summary>Applied steps before spikes are looked for.</summary>
    public int Warmup { get; init; } = 50;

    /// <summary>The verdict on a step, and what to remember.</summary>
    public (StepVerdict Verdict, PolicyMemory Memory) Decide(double loss, double norm, PolicyMemory memory)
    {
        bool finite = double.IsFinite(loss) && double.IsFinite(norm);
        bool spike = finite && memory.Applied >= Warmup
            && (norm > SpikeFactor * Math.Exp(memory.LogNorm) || loss > SpikeFactor * Math.Exp(memory.LogLoss));
        if (!finite || spike)
        {
            int skipped = memory.SkippedInARow + 1;
            StepVerdict verdict = skipped > Patience ? StepVerdict.GoBack : StepVerdict.Skip;
            return (verdict, memory with { SkippedInARow = skipped });
        }

        return (
            StepVerdict.Apply,
            new PolicyMemory(
                memory.Applied + 1, Averaged(memory.LogNorm, norm), 0, memory.Returns, Averaged(memory.LogLoss, loss)));

        double Averaged(double average, double value)
        {
            double log = Math.Log(Math.Max(value, 1e-30));
            return memory.Applied == 0 ? log : (Memory * average) + ((1 - Memory) * log);
        }
    }
}
