// The check of a run that resumes from the folders of single-process training. A stage's checkpoint continues the
// result of the stage that it started from, so that stage must be complete; otherwise the run would train it further,
// or again, and the later checkpoint would belong to another result.
using Atelier.Contracts.Training;
using Atelier.Model.Training.Runs;

namespace Atelier.Silo.Training;

/// <summary>Checks whether the folders of a run's stages fit together.</summary>
internal static class ResumedStages
{
    /// <summary>
    /// Why the run cannot resume from its folders, with the folders and what would be right; null if it can.
    /// </summary>
    public static string? Conflict(StageSource[] stages)
    {
        StageConfig[] configs =
            [.. stages.Select(stage => StageConfig.Parse(stage.Name, stage.Configuration, stage.Overrides))];
        for (int i = 0; i < stages.Length; i++)
        {
            if (stages[i].StartsFrom is not { } from)
            {
                continue;
            }

            (StageConfig own, StageConfig before) = (configs[i], configs[from]);
            long? reached = stages[i].Resumes ? CheckpointStore.NewestStep(own.Folder) : null;
            long? last = stages[from].Resumes ? CheckpointStore.NewestStep(before.Folder) : null;
            if (last >= before.Steps && !File.Exists(StageResult.PathIn(before.Folder)))
            {
                return $"{Name(from)} is at its end in {before.Folder}, but {StageResult.FileName}, from which "
                    + $"{Name(i)} starts, is missing there. Complete the stage with `atelier train`.";
            }

            if (reached is not null && !(last >= before.Steps))
            {
                return $"{Name(i)} would resume from step {reached} in {own.Folder}, but {Name(from)}, from whose "
                    + $"result it starts, is not complete: {before.Folder} "
                    + (!stages[from].Resumes ? "is not resumed"
                        : last is null ? "has no checkpoint" : $"is at step {last} of {before.Steps}")
                    + ". Complete that stage first, submit the run without it, or move the checkpoints in "
                    + $"{own.Folder} away.";
            }
        }

        return null;

        string Name(int stage) => $"stages[{stage}] ({stages[stage].Name})";
    }
}
