// What goes without saying. Who types "a tree" means a green one, drawn flat on a plain ground; who means another says
// so. Scenes, captions, prompts and what is held out agree on it here.

namespace Atelier.Shapes.Scenes;

/// <summary>What a scene shows where its caption is silent.</summary>
public static class Usual
{
    /// <summary>The background that goes without saying.</summary>
    public const Background Background = Scenes.Background.Plain;

    /// <summary>The style that goes without saying.</summary>
    public const ArtStyle Style = ArtStyle.Flat;

    /// <summary>The colour of a kind that goes without saying.</summary>
    public static ThingColor Color(ThingKind kind) => kind switch
    {
        ThingKind.Circle => ThingColor.Blue,
        ThingKind.Square => ThingColor.Purple,
        ThingKind.Triangle => ThingColor.Green,
        ThingKind.Star => ThingColor.Yellow,
        ThingKind.Heart => ThingColor.Red,
        ThingKind.Ring => ThingColor.Orange,
        ThingKind.Cross => ThingColor.Black,
        ThingKind.Moon => ThingColor.White,
        ThingKind.House => ThingColor.Brown,
        ThingKind.Tree => ThingColor.Green,
        ThingKind.Flower => ThingColor.Pink,
        _ => ThingColor.Orange,
    };

    /// <summary>Whether all things have the colours that go without saying.</summary>
    public static bool HasColors(IEnumerable<Thing> things) => things.All(thing => thing.Color == Color(thing.Kind));

    /// <summary>
    /// The same things in their usual colours; as they are, if one would not stand out before another that holds it.
    /// </summary>
    /// <param name="things">Things of a scene.</param>
    /// <param name="stated">The scene's relation, if it has one.</param>
    public static IReadOnlyList<Thing> WithColors(IReadOnlyList<Thing> things, StatedRelation? stated)
    {
        ArgumentNullException.ThrowIfNull(things);
        Thing[] usual = [.. things.Select(thing => thing with { Color = Color(thing.Kind) })];
        return stated is { Relation: Relation.Inside } inside
            && !ThingColors.PartWell(usual[inside.Subject].Color, usual[inside.Object].Color) ? things : usual;
    }
}
