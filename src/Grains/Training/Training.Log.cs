// Log events of training in the cluster, for an operator.
using Atelier.Contracts.Workers;
using Atelier.Training.Worlds;
using Microsoft.Extensions.Logging;

namespace Atelier.Grains.Training;

/// <summary>Log events of training.</summary>
internal static partial class TrainingLog
{
    [LoggerMessage(
        EventId = 901, Level = LogLevel.Information,
        Message = "Stage {Stage}: world {World} begins at step {Step} (trainers: {Members}), because {Reason}")]
    public static partial void WorldFormed(
        this ILogger logger, string stage, int world, long step, int members, string reason);

    [LoggerMessage(EventId = 902, Level = LogLevel.Warning, Message = "{Worker} cannot train stage {Stage}: {Reason}")]
    public static partial void TrainerRefused(this ILogger logger, string worker, string stage, string reason);

    [LoggerMessage(EventId = 903, Level = LogLevel.Information, Message = "Stage {Stage} is over: {Outcome}")]
    public static partial void StageEnded(this ILogger logger, string stage, string outcome);

    [LoggerMessage(
        EventId = 904, Level = LogLevel.Warning,
        Message = "Part {Part} of the checkpoint of step {Step} could not be stored and will be retried: {Reason}")]
    public static partial void CheckpointNotStored(this ILogger logger, int part, long step, string reason);

    [LoggerMessage(EventId = 905, Level = LogLevel.Information, Message = "Trainer {Trainer} joins stage {Stage}")]
    public static partial void TrainerJoins(this ILogger logger, TrainerId trainer, string stage);

    [LoggerMessage(
        EventId = 906, Level = LogLevel.Information, Message = "Trainer {Trainer} leaves stage {Stage}: {Reason}")]
    public static partial void TrainerLeaves(this ILogger logger, TrainerId trainer, string stage, string reason);

    [LoggerMessage(
        EventId = 913, Level = LogLevel.Information,
        Message = "{Worker} leaves stage {Stage}, because the pool assigns the device to {Next}")]
    public static partial void TrainerMoves(this ILogger logger, WorkerKey worker, string stage, string next);

    [LoggerMessage(EventId = 907, Level = LogLevel.Information, Message = "Stage {Stage}: {Remark}")]
    public static partial void StageRemark(this ILogger logger, string stage, string remark);

    [LoggerMessage(
        EventId = 908, Level = LogLevel.Warning,
        Message = "Trainer {Trainer} could not read the checkpoint of step {Step} and will retry: {Reason}")]
    public static partial void CheckpointNotRead(this ILogger logger, TrainerId trainer, long step, string reason);

    [LoggerMessage(
        EventId = 909, Level = LogLevel.Error,
        Message = "Trainer {Trainer} of stage {Stage} failed and will start over after a pause")]
    public static partial void TrainerFailed(this ILogger logger, TrainerId trainer, string stage, Exception error);

    [LoggerMessage(
        EventId = 912, Level = LogLevel.Warning,
        Message = "Trainer {Trainer} of stage {Stage} requests another copy of the state from its peers: {Reason}")]
    public static partial void CopyNotLoaded(this ILogger logger, TrainerId trainer, string stage, string reason);

    [LoggerMessage(
        EventId = 911, Level = LogLevel.Error,
        Message = "Stage {Stage} is paused until it is resumed (atelier runs resume): {Reason}")]
    public static partial void StagePaused(this ILogger logger, string stage, string reason);

    [LoggerMessage(
        EventId = 914, Level = LogLevel.Warning,
        Message = "The panel of step {Step} of stage {Stage} could not be drawn: {Reason}")]
    public static partial void PanelFailed(this ILogger logger, string stage, long step, string reason);

    [LoggerMessage(
        EventId = 910, Level = LogLevel.Error, Message = "{Worker} could not begin stage {Stage} and will retry later")]
    public static partial void TrainerLoopFailed(this ILogger logger, WorkerKey worker, string stage, Exception error);
}
