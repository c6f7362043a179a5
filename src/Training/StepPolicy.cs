// The policy for a loss or gradient that is not finite or suddenly far too large: skip the batch, or roll back.
namespace Atelier.Training;

/// <summary>The policy's decision on a step.</summary>
public enum StepVerdict
{
    /// <summary>The optimizer applies the step's gradient.</summary>
    Apply,

    /// <summary>
    /// The weights do not change; the step's slice of the data is skipped and recorded in the ledger.
    /// </summary>
    Skip,

    /// <summary>The run rolls back to its last checkpoint and skips the slices since then.</summary>
    RollBack,
}

/// <summary>The policy's state between steps, part of each checkpoint.</summary>
/// <param name="Applied">Number of steps applied so far.</param>
/// <param name="LogNorm">Moving average of the logarithm of the gradient norm.</param>
/// <param name="SkippedInARow">Number of consecutive steps skipped since the last applied one.</param>
/// <param name="Returns">Number of rollbacks so far.</param>
/// <param name="LogLoss">Moving average of the logarithm of the loss.</param>
public readonly record struct PolicyMemory(
    long Applied, double LogNorm, int SkippedInARow, int Returns, double LogLoss);

/// <summary>
/// A pure function of the reduced loss and gradient norm and of its own memory, so that all replicas and resumed runs
/// make the same decisions. A step whose loss or norm is not finite is skipped; so is one whose loss or norm is above
/// <see cref="SpikeFactor"/> times its moving average, once that average covers <see cref="Warmup"/> steps. After
/// <see cref="Patience"/> consecutive skips the run rolls back.
/// </summary>
public sealed record StepPolicy
{
    private const double Memory = 0.98;

    /// <summary>Ratio of the loss or norm to its moving average above which a step is a spike.</summary>
    public double SpikeFactor { get; init; } = 20;

    /// <summary>Number of consecutive skips tolerated before a rollback.</summary>
    public int Patience { get; init; } = 8;

    /// <summary>Number of rollbacks allowed in a stage; if another one is needed, the stage has diverged.</summary>
    public int ReturnsMax { get; init; } = 3;

    /// <summary>Number of applied steps before spike detection starts.</summary>
    public int Warmup { get; init; } = 50;

    /// <summary>Decides on a step: returns the verdict and the policy's next memory.</summary>
    public (StepVerdict Verdict, PolicyMemory Memory) Decide(double loss, double norm, PolicyMemory memory)
    {
        bool finite = double.IsFinite(loss) && double.IsFinite(norm);
        bool spike = finite && memory.Applied >= Warmup
            && (norm > SpikeFactor * Math.Exp(memory.LogNorm) || loss > SpikeFactor * Math.Exp(memory.LogLoss));
        if (!finite || spike)
        {
            int skipped = memory.SkippedInARow + 1;
            StepVerdict verdict = skipped > Patience ? StepVerdict.RollBack : StepVerdict.Skip;
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
