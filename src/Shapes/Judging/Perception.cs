// What is seen in a picture, and whether it is what a caption said.
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Judging;

/// <summary>A thing that was found in a picture. Lengths are parts of the picture's side.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Color">Its main colour.</param>
/// <param name="Spot">Where it is.</param>
/// <param name="Confidence">How sure it is that a thing of this kind is there, 0 to 1.</param>
public sealed record PerceivedThing(ThingKind Kind, ThingColor Color, Spot Spot, double Confidence)
{
    /// <summary>The size that words give it.</summary>
    public ThingSize Size => Thing.SizeOf(Spot.Diameter);
}

/// <summary>What was found in a picture.</summary>
/// <param name="Things">All things, the surest first.</param>
/// <param name="Background">The background.</param>
/// <param name="Style">The style.</param>
public sealed record Perception(IReadOnlyList<PerceivedThing> Things, Background Background, ArtStyle Style);

/// <summary>Whether a picture shows what a caption said, by aspect. What was not said is true.</summary>
/// <param name="Things">
/// Exactly the things that were said are there: the kinds, in their numbers, and nothing else.
/// </param>
/// <param name="Colors">The things have the colours that were said.</param>
/// <param name="Sizes">The things have the sizes that were said.</param>
/// <param name="Position">The relation that was stated holds.</param>
/// <param name="Background">The background is the one that was said.</param>
/// <param name="Style">The style is the one that was said.</param>
public readonly record struct Verdict(
    bool Things, bool Colors, bool Sizes, bool Position, bool Background, bool Style)
{
    /// <summary>Whether all that was said is shown.</summary>
    public bool All => Things && Colors && Sizes && Position && Background && Style;

    /// <summary>
    /// Whether the picture passes a task: the aspects that the task is about, whatever else the prompt says.
    /// </summary>
    public bool Passes(SceneTask task) => task switch
    {
        SceneTask.Single or SceneTask.Two or SceneTask.Counting => Things,
        SceneTask.Color or SceneTask.Attribution => Things && Colors,
        SceneTask.Position => Things && Position,
        SceneTask.Background => Background,
        SceneTask.Style => Style,
        _ => All,
    };
}

/// <summary>Compares what was said with what was seen.</summary>
public static class Judge
{
    /// <summary>Checks each aspect.</summary>
    public static Verdict Check(Expectation said, Perception seen)
    {
        ArgumentNullException.ThrowIfNull(said);
        ArgumentNullException.ThrowIfNull(seen);
        return new Verdict(
            Enum.GetValues<ThingKind>().All(kind =>
                said.Things.Where(things => things.Kind == kind).Sum(things => things.Count)
                == seen.Things.Count(thing => thing.Kind == kind)),
            said.Things.All(things => things.Color is null || Matching(things, seen).Count() == things.Count),
            said.Things.All(things => things.Size is null
                || Matching(things, seen).Count(thing => thing.Size == things.Size) == things.Count),
            said.Relation is null || Holds(said.Relation, seen),
            said.Background is null || said.Background == seen.Background,
            said.Style is null || said.Style == seen.Style);
    }

    private static IEnumerable<PerceivedThing> Matching(ExpectedThings things, Perception seen) =>
        seen.Things.Where(thing => thing.Kind == things.Kind && (things.Color ?? thing.Color) == thing.Color);

    private static bool Holds(ExpectedRelation said, Perception seen) =>
        seen.Things.Where(thing => thing.Kind == said.Subject).Any(subject =>
            seen.Things.Where(thing => thing.Kind == said.Object).Any(other =>
                Placement.Holds(said.Relation, subject.Spot, other.Spot)));
}
