// Prompts for measuring a model, each with what a picture must show.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Captions;

/// <summary>A prompt of the evaluation.</summary>
/// <param name="Task">What it tests.</param>
/// <param name="HeldOut">Whether it asks for a combination that training never met.</param>
/// <param name="Caption">The prompt, and what a picture must show.</param>
/// <param name="Scene">
/// A scene that the prompt describes, with what goes without saying (<see cref="Usual"/>) where the prompt is silent;
/// only things whose usual colours would not show one inside the other keep the colours that they were drawn with.
/// </param>
public sealed record EvaluationPrompt(SceneTask Task, bool HeldOut, Caption Caption, Scene Scene);

/// <summary>Draws prompts for each task, in any number.</summary>
public static class EvaluationPrompts
{
    // Evaluation's scenes belong to other seeds than training's, whatever both are called.
    private const ulong SeedOffset = 0x4556_414C_5541_5445;

    /// <summary>The tasks that are scored.</summary>
    public static IReadOnlyList<SceneTask> Tasks { get; } =
    [
        SceneTask.Single, SceneTask.Color, SceneTask.Two, SceneTask.Counting, SceneTask.Position,
        SceneTask.Attribution, SceneTask.Background, SceneTask.Style,
    ];

    /// <summary>Prompts 0 to <paramref name="count"/> - 1 of a task.</summary>
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

    // Only what a task is about is mentioned. Where colour is beside the point, half of the prompts have it.
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
