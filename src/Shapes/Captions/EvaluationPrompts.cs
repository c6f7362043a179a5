// Prompts for evaluating a model, each with the expected contents of the picture.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Captions;

/// <summary>A prompt of the evaluation.</summary>
/// <param name="Task">The task that it tests.</param>
/// <param name="HeldOut">Whether it asks for a combination that is not in the training data.</param>
/// <param name="Caption">The prompt, and the expected contents of the picture.</param>
/// <param name="Scene">
/// A scene that the prompt describes. Details that the prompt omits are the usual ones (<see cref="Usual"/>), except
/// that things keep their drawn colors if a thing inside another would not be visible in the usual colors.
/// </param>
public sealed record EvaluationPrompt(SceneTask Task, bool HeldOut, Caption Caption, Scene Scene);

/// <summary>Draws any number of prompts for each task.</summary>
public static class EvaluationPrompts
{
    // Evaluation and training draw from different seeds even if both are given the same seed.
    private const ulong SeedOffset = 0x4556_414C_5541_5445;

    /// <summary>The tasks that are scored.</summary>
    public static IReadOnlyList<SceneTask> Tasks { get; } =
    [
        SceneTask.Single, SceneTask.Color, SceneTask.Two, SceneTask.Counting, SceneTask.Position,
        SceneTask.Attribution, SceneTask.Background, SceneTask.Style,
    ];

    /// <summary>Draws prompts 0 to <paramref name="count"/> - 1 of a task.</summary>
    public static IEnumerable<EvaluationPrompt> Draw(ulong seed, SceneTask task, bool heldOut, int count)
    {
        var sampler = new SceneSampler(seed + SeedOffset);
        return Enumerable.Range(0, count).Select(index =>
        {
            Mentions mentions = MentionsOf(task, heldOut, isOdd: index % 2 == 1);
            Scene drawn = sampler.Draw(index, task, heldOut ? Split.HeldOut : Split.Seen);
            Scene scene = drawn with
            {
                Background = mentions.Background ? drawn.Background : Usual.Background,
                Style = mentions.Style ? drawn.Style : Usual.Style,
                Things = mentions.Colors ? drawn.Things : Usual.WithColors(drawn.Things, drawn.Stated),
            };
            long line = (((long)index * Tasks.Count) + (int)task) * 2;
            return new EvaluationPrompt(
                task, heldOut, Captioner.Write(scene, mentions, seed + SeedOffset, line + (heldOut ? 1 : 0)), scene);
        });
    }

    // A prompt mentions only what its task tests. If color does not matter, half of the prompts mention it.
    private static Mentions MentionsOf(SceneTask task, bool heldOut, bool isOdd) => task switch
    {
        SceneTask.Single => default(Mentions) with { Background = heldOut || isOdd },
        SceneTask.Two => default,
        SceneTask.Color or SceneTask.Attribution => default(Mentions) with { Colors = true },
        SceneTask.Counting => default(Mentions) with { Colors = isOdd },
        SceneTask.Position => default(Mentions) with { Colors = isOdd, Relation = true },
        SceneTask.Background => default(Mentions) with { Colors = isOdd, Background = true },
        SceneTask.Style => default(Mentions) with { Colors = isOdd, Style = true },
        _ => new Mentions(Colors: true, Sizes: isOdd, Background: true, Style: true, Relation: true),
    };
}
