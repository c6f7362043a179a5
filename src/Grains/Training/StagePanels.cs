// The panels of a stage as a pure protocol: for which checkpoints one is drawn, and when a score holds the stage.
// Panels are drawn beside the training, so one may take longer than the interval; then those in between are skipped.
using System.Collections.Immutable;
using System.Globalization;

namespace Atelier.Grains.Training;

/// <summary>A panel that was drawn.</summary>
/// <param name="Step">Number of steps that its checkpoint includes.</param>
/// <param name="Sheet">SHA-256 of the sheet of pictures.</param>
/// <param name="Score">CLIP score of the pictures; null without one.</param>
public sealed record DrawnPanel(long Step, string Sheet, double? Score)
{
    /// <summary>How far the score may fall below the best one; null for any distance.</summary>
    public double? DropMax { get; init; }

    /// <summary>Whether the score has fallen too far, so that the stage was held.</summary>
    public bool IsHeld { get; init; }
}

/// <summary>The stored panels of a stage.</summary>
internal sealed record StagePanels
{
    /// <summary>Maximum number of drawn panels that are kept.</summary>
    public const int KeptMax = 100;

    /// <summary>Steps between panels; 0 for none.</summary>
    public long Interval { get; init; }

    /// <summary>Steps of the checkpoints to be drawn: the one being drawn, and the next one.</summary>
    public ImmutableArray<long> Due { get; init; } = [];

    /// <summary>Step of the last checkpoint that was due.</summary>
    public long Last { get; init; }

    /// <summary>Drawn panels, oldest first.</summary>
    public ImmutableArray<DrawnPanel> Drawn { get; init; } = [];

    /// <summary>Records that a planned checkpoint, or the stage's result, was committed.</summary>
    /// <param name="step">Number of steps that it includes.</param>
    /// <param name="isLast">Whether it is the stage's result.</param>
    /// <returns>The panels, and the step whose panel is skipped; null if none is.</returns>
    public (StagePanels Panels, long? Skipped) Committed(long step, bool isLast)
    {
        bool isDue = Interval > 0 && step != Last && (isLast || step / Interval != Last / Interval);
        return !isDue ? (this, null)
            : Due.Length < 2 ? (this with { Due = Due.Add(step), Last = step }, null)
            : (this with { Due = Due.SetItem(1, step), Last = step }, Due[1]);
    }

    /// <summary>Records that the panel of a checkpoint cannot be drawn.</summary>
    public StagePanels Without(long step) => this with { Due = Due.Remove(step) };

    /// <summary>Records a drawn panel. A repeated call changes nothing.</summary>
    /// <returns>The panels, and why the stage is held; null if it is not.</returns>
    public (StagePanels Panels, string? Hold) With(DrawnPanel panel)
    {
        if (!Due.Contains(panel.Step))
        {
            return (this, null);
        }

        // A person who resumes a held stage has accepted its score.
        int from = Drawn.LastOrDefault(one => one.IsHeld) is { } held ? Drawn.LastIndexOf(held) : 0;
        DrawnPanel? best = Drawn.Skip(from).Where(one => one.Score is not null).MaxBy(one => one.Score);
        bool isHeld = best?.Score - panel.Score > panel.DropMax;
        StagePanels next = Without(panel.Step) with
        {
            Drawn = [.. Drawn.TakeLast(KeptMax - 1), panel with { IsHeld = isHeld }],
        };
        return (next, !isHeld ? null : string.Create(
            CultureInfo.InvariantCulture,
            $"the panel of step {panel.Step} has the CLIP score {panel.Score:f2}, more than {panel.DropMax} below the "
            + $"{best!.Score:f2} of step {best.Step}; look at both panels, and resume or cancel the run"));
    }
}
