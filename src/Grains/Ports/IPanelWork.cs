// The port for the panels of a training stage: pictures of a checkpoint that show what the stage has learned.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Training;
using Atelier.Training.Checkpoints;

namespace Atelier.Grains.Ports;

/// <summary>The pictures of a stage's panels.</summary>
/// <param name="Prompts">The prompts, one for each picture.</param>
/// <param name="Seed">Seed of all pictures.</param>
/// <param name="Steps">Sampling steps.</param>
/// <param name="Guidance">Guidance scale.</param>
/// <param name="IsScored">Whether the pictures get a CLIP score.</param>
/// <param name="DropMax">How far the score may fall below the best one; null for any distance.</param>
public sealed record PanelPlan(
    IReadOnlyList<string> Prompts, ulong Seed, int Steps, double Guidance, bool IsScored, double? DropMax);

/// <summary>Makes models of checkpoints and sheets of pictures.</summary>
public interface IPanelWork
{
    /// <summary>The panels that a stage's configuration asks for; null for none.</summary>
    PanelPlan? PlanOf(StageSource stage);

    /// <summary>
    /// Stores a checkpoint as the files of a model. The caller publishes the model, or releases its files.
    /// </summary>
    /// <param name="name">Name of the model.</param>
    /// <param name="run">The run.</param>
    /// <param name="stage">Index of the stage.</param>
    /// <param name="source">The stage.</param>
    /// <param name="checkpoint">The checkpoint, which is kept meanwhile.</param>
    /// <param name="cancellation">Cancels the call; nothing is left in the blob store then.</param>
    /// <exception cref="PanelRefusedException">The checkpoint cannot be a model on this silo.</exception>
    Task<PublishedModel> StoreAsync(
        string name, RunId run, int stage, StageSource source, CheckpointManifest checkpoint,
        CancellationToken cancellation);

    /// <summary>Releases the files of a model that is not published.</summary>
    Task ReleaseAsync(PublishedModel model);

    /// <summary>Joins pictures to a sheet, and scores them if the plan asks for that.</summary>
    /// <param name="plan">The panels of the stage.</param>
    /// <param name="pictures">The picture of each prompt.</param>
    /// <param name="model">The model that has drawn them; its text encoder's file has the image encoder.</param>
    /// <param name="owner">The owner of the sheet.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <returns>The sheet, a PNG file, and the CLIP score; null without one.</returns>
    /// <exception cref="PanelRefusedException">
    /// A picture is missing, or the model has no image encoder to score it with.
    /// </exception>
    Task<(BlobName Sheet, double? Score)> JoinAsync(
        PanelPlan plan, IReadOnlyList<BlobName> pictures, PublishedModel model, BlobOwner owner,
        CancellationToken cancellation);
}

/// <summary>Thrown when a panel cannot be drawn.</summary>
/// <param name="message">What is wrong, where, and what would be right.</param>
/// <param name="inner">The cause.</param>
public sealed class PanelRefusedException(string message, Exception? inner = null) : Exception(message, inner);
