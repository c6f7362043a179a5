// Twins of scenes. A twin differs from a scene in a single fact, so that the scene's caption is almost right for it.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Training;

/// <summary>The difference between a scene and its twin.</summary>
public enum Difference
{
    /// <summary>The color of a thing, or of all equal things.</summary>
    Color,

    /// <summary>The kind of a thing, or of all equal things.</summary>
    Kind,

    /// <summary>The colors of two things are swapped.</summary>
    ColorsSwapped,

    /// <summary>The positions of two things are swapped.</summary>
    PlacesSwapped,

    /// <summary>A thing is missing.</summary>
    Number,

    /// <summary>The background.</summary>
    Background,

    /// <summary>The style.</summary>
    Style,
}

/// <summary>Makes twins of scenes.</summary>
internal static class SceneVariation
{
    private const int TriesMax = 40;

    private static readonly ThingKind[] s_kinds = Enum.GetValues<ThingKind>();
    private static readonly ThingColor[] s_colors = Enum.GetValues<ThingColor>();

    /// <summary>
    /// Draws a twin of a scene, without held-out combinations if the scene has none; returns the scene itself in the
    /// rare case that no twin is found.
    /// </summary>
    public static (Scene Twin, Difference? Difference) Of(Scene scene, DrawStream draw)
    {
        for (int i = 0; i < TriesMax; i++)
        {
            var difference = (Difference)draw.Weighted(0.1, 0.2, 0.2, 0.2, 0.14, 0.08, 0.08);
            if (Vary(scene, difference, draw) is { } twin && IsDrawable(twin) && HeldOut.In(twin) == Combinations.None)
            {
                return (twin, difference);
            }
        }

        return (scene, null);
    }

    private static Scene? Vary(Scene scene, Difference difference, DrawStream draw)
    {
        IReadOnlyList<Thing> things = scene.Things;
        int first = draw.Below(things.Count), second = draw.Below(things.Count);
        (Thing a, Thing b) = (things[first], things[second]);
        switch (difference)
        {
            case Difference.Color:
                ThingColor color = draw.Pick(s_colors);
                return color == a.Color ? null : Replace(scene, a, thing => thing with { Color = color });
            case Difference.Kind:
                ThingKind kind = draw.Pick(s_kinds);
                bool holds = scene.Stated is { Relation: Relation.Inside } stated && stated.Object == first;
                return kind == a.Kind || holds ? null : Replace(scene, a, thing => thing with { Kind = kind });
            case Difference.ColorsSwapped:
                return a.Color == b.Color
                    || a.Kind == b.Kind
                        ? null
                        : Swap(scene, first, second, (to, from) => to with { Color = from.Color });
            case Difference.PlacesSwapped:
                bool isDirection = scene.Stated is { Relation: not Relation.Inside };
                return a.Kind == b.Kind || !isDirection
                    ? null
                    : Swap(scene, first, second, (to, from) => to with { Color = from.Color, Kind = from.Kind });
            case Difference.Number:
                return things.Count == 1
                    || scene.Stated is not null
                        ? null
                        : scene with { Things = [.. things.Where((_, i) => i != first)] };
            case Difference.Background:
                return Changed(scene, scene with { Background = draw.Pick(Enum.GetValues<Background>()) });
            default:
                return Changed(scene, scene with { Style = draw.Pick(Enum.GetValues<ArtStyle>()) });
        }
    }

    private static Scene? Changed(Scene scene, Scene twin) => scene == twin ? null : twin;

    private static Scene Replace(Scene scene, Thing like, Func<Thing, Thing> change) => scene with
    {
        Things =
        [
            .. scene.Things.Select(
                thing => (thing.Kind, thing.Color) == (like.Kind, like.Color) ? change(thing) : thing),
        ],
    };

    private static Scene Swap(Scene scene, int first, int second, Func<Thing, Thing, Thing> change)
    {
        Thing[] things = [.. scene.Things];
        (things[first], things[second]) = (
            change(things[first], things[second]), change(things[second], things[first]));
        return scene with { Things = things };
    }

    // Whether the sampler could have drawn the scene: a stated relation is between two different kinds, and a thing
    // inside another is visible.
    private static bool IsDrawable(Scene scene) => scene.Stated is not { } stated
        || (scene.Things[stated.Subject].Kind != scene.Things[stated.Object].Kind && (stated.Relation != Relation.Inside
            || ThingColors.AreDistinct(scene.Things[stated.Subject].Color, scene.Things[stated.Object].Color)));
}
