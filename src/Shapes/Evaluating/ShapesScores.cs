// What an evaluation of a model on the demo world found.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Evaluating;

/// <summary>How a model does at one task. Each figure is the part of the pictures that pass, 0 to 1.</summary>
/// <param name="Task">The task.</param>
/// <param name="Seen">The model's pictures of combinations that training met.</param>
/// <param name="HeldOut">Its pictures of combinations that training never met.</param>
/// <param name="Oracle">True renderings of the same scenes: what the oracle itself is worth.</param>
/// <param name="OracleSpoiled">The same renderings with noise or a blur.</param>
/// <param name="OracleDecoded">The same renderings after the autoencoder: what is lost by latents alone.</param>
/// <param name="Prompts">Prompts of each of the two kinds.</param>
public sealed record TaskScore(
    SceneTask Task, double Seen, double HeldOut, double Oracle, double OracleSpoiled, double OracleDecoded, int Prompts)
{
    /// <summary>Name of the task in reports.</summary>
    public string Name => NameOf(Task);

    /// <summary>
    /// A task's name in reports and of files: the first letter is small, and colour keeps its spelling.
    /// </summary>
    public static string NameOf(SceneTask task) =>
        task == SceneTask.Color ? "colour" : char.ToLowerInvariant($"{task}"[0]) + $"{task}"[1..];
}

/// <summary>All figures of an evaluation.</summary>
/// <param name="Tasks">By task.</param>
/// <param name="Frechet">
/// Fréchet distance between the model's pictures and true pictures of the same prompts, in the features of the model's
/// own CLIP image encoder, unit length.
/// </param>
/// <param name="FrechetTrue">The same between those true pictures and as many true pictures of other prompts.</param>
/// <param name="ClipScore">Mean of 100 times the cosine of picture and prompt.</param>
/// <param name="ClipScoreTrue">The same for true pictures.</param>
/// <param name="Decibels">Mean peak signal-to-noise ratio of the autoencoder on the true pictures.</param>
public sealed record ShapesScores(
    IReadOnlyList<TaskScore> Tasks, double Frechet, double FrechetTrue, double ClipScore, double ClipScoreTrue,
    double Decibels)
{
    // Of the tasks scored, these six make the mean, in GenEval's manner.
    private static readonly SceneTask[] s_averaged =
    [
        SceneTask.Single, SceneTask.Color, SceneTask.Two, SceneTask.Counting, SceneTask.Position, SceneTask.Attribution,
    ];

    /// <summary>Mean over the six tasks, combinations that training met.</summary>
    public double MeanSeen => Averaged.Average(score => score.Seen);

    /// <summary>Mean over the six tasks, combinations that training never met.</summary>
    public double MeanHeldOut => Averaged.Average(score => score.HeldOut);

    private IEnumerable<TaskScore> Averaged => Tasks.Where(score => s_averaged.Contains(score.Task));
}
