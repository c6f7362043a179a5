// The output of a training stage on the command line.
using Atelier.Model.Training.Runs;

namespace Atelier.Cli;

/// <summary>Writes results to standard output, remarks and the meter to standard error.</summary>
internal sealed class StageOutput : IStageAudience
{
    /// <inheritdoc/>
    public double MeterInterval => Output.IsErrorTerminal ? 1 : 10;

    /// <inheritdoc/>
    public void Line(string text) => Output.Line(text);

    /// <inheritdoc/>
    public void Remark(string text) => Output.Remark(text);

    /// <inheritdoc/>
    public void WithMeter(string label, Action<Action<double, string>> work) => Output.WithMeter(label, work);
}
