// The perceived contents of a picture, and their comparison with a caption.
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Judging;

/// <summary>A thing found in a picture. Lengths are fractions of the picture's side.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Color">Its main color.</param>
/// <param name="Spot">Its position and extent.</param>
/// <param name="Confidence">Confidence that there is a thing of this kind at this position, 0 to 1.</param>
public sealed record PerceivedThing(ThingKind Kind, ThingColor Color, Spot Spot, double Confidence)
{
    /// <summary>Its size class.</summary>
    public ThingSize Size => Thing.SizeOf(Spot.Diameter);
}

/// <summary>The contents found in a picture.</summary>
/// <param name="Things">All things, in descending order of confidence.</param>
/// <param name="Background">The background.</param>
/// <param name="Style">The style.</param>
public sealed record Perception(IReadOnlyList<PerceivedThing> Things, Background Background, ArtStyle Style);

/// <summary>Whether a picture matches a caption, by aspect. Aspects that the caption omits count as matching.</summary>
/// <param name="Things">Whether the picture shows exactly the stated kinds, in the stated numbers.</param>
/// <param name="Colors">Whether the colors match.</param>
/// <param name="Sizes">Whether the sizes match.</param>
/// <param name="Position">Whether the stated relation holds.</param>
/// <param name="Background">Whether the background matches.</param>
/// <param name="Style">Whether the style matches.</param>
public readonly record struct Verdict(
    bool Things, bool Colors, bool Sizes, bool Position, bool Background, bool Style)
{
    /// <summary>Whether all aspects match.</summary>
    public bool All => Things && Colors && Sizes && Position && Background && Style;

    /// <summary>Whether the picture passes a task, which depends only on the aspects that the task tests.</summary>
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

/// <summary>Compares expected and perceived contents.</summary>
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
