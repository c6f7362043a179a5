// The scores of a model on the demo world.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Evaluating;

/// <summary>The scores of a model at one task. Each figure is the fraction of pictures that pass, 0 to 1.</summary>
/// <param name="Task">The task.</param>
/// <param name="Seen">Of the model's pictures of combinations in the training data.</param>
/// <param name="HeldOut">Of the model's pictures of held-out combinations.</param>
/// <param name="Oracle">Of true renderings of the same scenes, which is the oracle's own accuracy.</param>
/// <param name="OracleSpoiled">Of the same renderings with noise or blur.</param>
/// <param name="OracleDecoded">
/// Of the same renderings after encoding and decoding by the autoencoder, which shows the loss caused by latents alone.
/// </param>
/// <param name="Prompts">Number of prompts for seen combinations, and also for held-out combinations.</param>
public sealed record TaskScore(
    SceneTask Task, double Seen, double HeldOut, double Oracle, double OracleSpoiled, double OracleDecoded, int Prompts)
{
    /// <summary>Name of the task in reports.</summary>
    public string Name => NameOf(Task);

    /// <summary>
    /// A task's name in reports and file names, in lower case. The name "colour" keeps the spelling of earlier reports.
    /// </summary>
    public static string NameOf(SceneTask task) =>
        task == SceneTask.Color ? "colour" : char.ToLowerInvariant($"{task}"[0]) + $"{task}"[1..];
}

/// <summary>All figures of an evaluation.</summary>
/// <param name="Tasks">Scores by task.</param>
/// <param name="Frechet">
/// Fréchet distance between the model's pictures and true pictures of the same prompts, in normalized features of the
/// model's own CLIP image encoder.
/// </param>
/// <param name="FrechetTrue">
/// The Fréchet distance between those true pictures and as many true pictures of other prompts.
/// </param>
/// <param name="ClipScore">
/// Mean over the model's pictures of 100 times the cosine similarity of picture and prompt.
/// </param>
/// <param name="ClipScoreTrue">CLIP score of true pictures.</param>
/// <param name="Decibels">Mean peak signal-to-noise ratio of the autoencoder on the true pictures.</param>
public sealed record ShapesScores(
    IReadOnlyList<TaskScore> Tasks, double Frechet, double FrechetTrue, double ClipScore, double ClipScoreTrue,
    double Decibels)
{
    // The mean covers these six tasks, as in GenEval.
    private static readonly SceneTask[] s_averaged =
    [
        SceneTask.Single, SceneTask.Color, SceneTask.Two, SceneTask.Counting, SceneTask.Position, SceneTask.Attribution,
    ];

    /// <summary>Mean over the six tasks for combinations in the training data.</summary>
    public double MeanSeen => Averaged.Average(score => score.Seen);

    /// <summary>Mean over the six tasks for held-out combinations.</summary>
    public double MeanHeldOut => Averaged.Average(score => score.HeldOut);

    private IEnumerable<TaskScore> Averaged => Tasks.Where(score => s_averaged.Contains(score.Task));
}
