// Usual details. A person who types "a tree" means a green one, drawn flat on a plain background, and would mention
// anything else. Scenes, captions, prompts and held-out combinations share these definitions.

namespace Atelier.Shapes.Scenes;

/// <summary>The details of a scene that its caption omits.</summary>
public static class Usual
{
    /// <summary>The usual background.</summary>
    public const Background Background = Scenes.Background.Plain;

    /// <summary>The usual style.</summary>
    public const ArtStyle Style = ArtStyle.Flat;

    /// <summary>The usual color of a kind.</summary>
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

    /// <summary>Whether all things have their usual colors.</summary>
    public static bool HasColors(IEnumerable<Thing> things) => things.All(thing => thing.Color == Color(thing.Kind));

    /// <summary>
    /// The same things in their usual colors; unchanged if a thing inside another would then not be visible.
    /// </summary>
    /// <param name="things">Things of a scene.</param>
    /// <param name="stated">The scene's relation; null if it has none.</param>
    public static IReadOnlyList<Thing> WithColors(IReadOnlyList<Thing> things, StatedRelation? stated)
    {
        ArgumentNullException.ThrowIfNull(things);
        Thing[] usual = [.. things.Select(thing => thing with { Color = Color(thing.Kind) })];
        return stated is { Relation: Relation.Inside } inside
            && !ThingColors.AreDistinct(usual[inside.Subject].Color, usual[inside.Object].Color) ? things : usual;
    }
}
