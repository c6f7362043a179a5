// What goes without saying. Who types "a tree" means a green one, drawn flat on a plain ground; who means another says so.
// Scenes, captions, prompts and what is held out agree on it here.
using System.Collections.Immutable;

namespace Atelier.Shapes;

/// <summary>What a scene shows where its caption is silent.</summary>
public static class Usual
{
    /// <summary>The background that goes without saying.</summary>
    public const Background Background = Shapes.Background.Plain;

    /// <summary>The style that goes without saying.</summary>
    public const ArtStyle Style = ArtStyle.Flat;

    // In the order of the kinds.
    private static readonly ImmutableArray<ThingColour> s_colours =
    [
        ThingColour.Blue, ThingColour.Purple, ThingColour.Green, ThingColour.Yellow, ThingColour.Red, ThingColour.Orange,
        ThingColour.Black, ThingColour.White, ThingColour.Brown, ThingColour.Green, ThingColour.Pink, ThingColour.Orange,
    ];

    /// <summary>The colour of a kind that goes without saying.</summary>
    public static ThingColour Colour(ThingKind kind) => s_colours[(int)kind];

    /// <summary>Whether all things have the colours that go without saying.</summary>
    public static bool AreColours(IEnumerable<Thing> things) => things.All(thing => thing.Colour == Colour(thing.Kind));

    /// <summary>
    /// The same things in their usual colours; as they are, if one would not stand out before another that holds it.
    /// </summary>
    public static IReadOnlyList<Thing> InColours(IReadOnlyList<Thing> things, StatedRelation? stated)
    {
        ArgumentNullException.ThrowIfNull(things);
        Thing[] usual = [.. things.Select(thing => thing with { Colour = Colour(thing.Kind) })];
        return stated is { Relation: Relation.Inside } inside
            && !Drawing.Palette.PartWell(usual[inside.Subject].Colour, usual[inside.Object].Colour) ? things : usual;
    }
}
