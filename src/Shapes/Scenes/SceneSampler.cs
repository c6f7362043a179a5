// The sampler of scenes. Scene number i of a seed and a task is always the same, whatever the order of calls.
namespace Atelier.Shapes.Scenes;

/// <summary>The subject of a scene. Evaluation scores each subject separately.</summary>
public enum SceneTask
{
    /// <summary>One thing.</summary>
    Single,

    /// <summary>One thing in a given color.</summary>
    Color,

    /// <summary>Two things of different kinds.</summary>
    Two,

    /// <summary>One to four equal things.</summary>
    Counting,

    /// <summary>Two things of different kinds in a clear relation.</summary>
    Position,

    /// <summary>Two things of different kinds and colors.</summary>
    Attribution,

    /// <summary>One thing on a given background.</summary>
    Background,

    /// <summary>One thing in a given style.</summary>
    Style,

    /// <summary>One to four things of any kinds and colors.</summary>
    Free,
}

/// <summary>The combinations that a scene may contain.</summary>
public enum Split
{
    /// <summary>No held-out combination: scenes for training and for the seen half of the evaluation.</summary>
    Seen,

    /// <summary>
    /// At least one held-out combination of the kind that belongs to the task (<see cref="SceneSampler.SortOf"/>), and
    /// none of another kind.
    /// </summary>
    HeldOut,

    /// <summary>Any combination: for the oracle, which must know the whole world.</summary>
    Any,
}

/// <summary>Draws scenes of one seed. Safe for concurrent use.</summary>
/// <param name="seed">The seed; 0 is a seed like any other.</param>
public sealed class SceneSampler(ulong seed)
{
    // Rejection-sampling limit; the rarest request succeeds about once in a few hundred draws.
    private const int TriesMax = 20_000;
    private const int PlacesMax = 40;

    private static readonly ThingKind[] s_kinds = Enum.GetValues<ThingKind>();
    private static readonly ThingColor[] s_colors = Enum.GetValues<ThingColor>();
    private static readonly ThingKind[] s_containers = [ThingKind.Circle, ThingKind.Square, ThingKind.Ring];

    /// <summary>
    /// Draws training scene number <paramref name="index"/>. Training scenes are a mixture of tasks, without held-out
    /// combinations.
    /// </summary>
    public Scene Draw(long index) => Draw(index, TaskOf(index), Split.Seen);

    /// <summary>The task of training scene number <paramref name="index"/>.</summary>
    public SceneTask TaskOf(long index)
    {
        var draw = new DrawStream(seed, Purpose.Mixture, index);
        return draw.Weighted(0.12, 0.18, 0.2, 0.38, 0.12) switch
        {
            0 => SceneTask.Single,
            1 => SceneTask.Two,
            2 => SceneTask.Counting,
            3 => SceneTask.Position,
            _ => SceneTask.Free,
        };
    }

    /// <summary>Draws scene number <paramref name="index"/> of a task.</summary>
    /// <param name="index">Number of the scene, 0 or more.</param>
    /// <param name="task">The subject of the scene.</param>
    /// <param name="split">The combinations that the scene may contain.</param>
    /// <param name="relation">The relation of a scene for <see cref="SceneTask.Position"/>; null for any.</param>
    public Scene Draw(long index, SceneTask task, Split split, Relation? relation = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        var draw = new DrawStream(seed, Purpose.Scene + (3 * (int)task) + (int)split, index);
        Combinations? wanted = split switch
        {
            Split.Seen => Combinations.None,
            Split.HeldOut => SortOf(task),
            _ => null,
        };

        // The number of things and the relation are chosen before rejection sampling, so that those which are harder to
        // draw are not rarer.
        int count = CountOf(draw, task, split);
        Relation? stated = task == SceneTask.Position ? (Relation)draw.Below(5) : null;
        stated = stated is null ? null : relation ?? stated;
        for (int i = 0; i < TriesMax; i++)
        {
            if (Try(draw, task, count, stated, wanted) is { } scene)
            {
                return scene;
            }
        }

        throw new InvalidOperationException(
            $"No scene for {task} and {split} combinations was found in {TriesMax} attempts.");
    }

    /// <summary>The kind of held-out combination that tests a task.</summary>
    public static Combinations SortOf(SceneTask task) => task switch
    {
        SceneTask.Single or SceneTask.Background => Combinations.KindBackground,
        SceneTask.Two => Combinations.KindPair,
        SceneTask.Counting => Combinations.KindCount,
        SceneTask.Position => Combinations.KindRelation,
        SceneTask.Style => Combinations.KindStyle,
        _ => Combinations.KindColor,
    };

    private static int CountOf(DrawStream draw, SceneTask task, Split split) => task switch
    {
        SceneTask.Counting => split == Split.HeldOut
            ? 2 + draw.Below(Scene.ThingsMax - 1)
            : 1 + draw.Below(Scene.ThingsMax),
        SceneTask.Two or SceneTask.Position or SceneTask.Attribution => 2,
        SceneTask.Free => 1 + draw.Weighted(0.1, 0.25, 0.4, 0.25),
        _ => 1,
    };

    private static Scene? Try(DrawStream draw, SceneTask task, int count, Relation? relation, Combinations? wanted)
    {
        // Usual details are the most frequent, as they are in requests.
        var background = (Background)draw.Weighted(0.58, 0.07, 0.07, 0.07, 0.07, 0.07, 0.07);
        var style = (ArtStyle)draw.Weighted(0.67, 0.11, 0.11, 0.11);

        // Two tasks are about colors, and use all of them with equal probability.
        bool inUsualColors = draw.Chance(task is SceneTask.Color or SceneTask.Attribution ? 0 : 0.45);
        List<Thing> things =
            relation == Relation.Inside ? Nested(draw, inUsualColors) : Unplaced(draw, task, count, inUsualColors);
        if (wanted is { } sorts && HeldOut.InKinds(background, style, things) != (sorts & ~Combinations.KindRelation))
        {
            return null;
        }

        if (relation != Relation.Inside && !Place(draw, things, relation))
        {
            return null;
        }

        StatedRelation? stated = relation is null ? null : relation == Relation.Inside
            ? new StatedRelation(Relation.Inside, 1, 0)
            : new StatedRelation(relation.Value, 0, 1);
        var scene = new Scene(background, style, things, stated, (uint)(draw.Next() * (1 << 24)));
        return wanted is null || HeldOut.In(scene) == wanted ? scene : null;
    }

    // Draws kinds, colors and sizes; positions are drawn later. A repeated thing is the last thing again, or a thing of
    // the same kind in another color.
    private static List<Thing> Unplaced(DrawStream draw, SceneTask task, int count, bool inUsualColors)
    {
        var things = new List<Thing> { Another(draw, count, inUsualColors) };
        while (things.Count < count)
        {
            Thing thing = task switch
            {
                SceneTask.Counting => things[0],
                SceneTask.Free => More(draw, count, things[^1], inUsualColors),
                _ => Another(draw, count, inUsualColors),
            };
            if (IsDistinct(thing, things, task))
            {
                things.Add(thing);
            }
        }

        return things;
    }

    private static Thing More(DrawStream draw, int count, Thing last, bool inUsualColors) =>
        draw.Weighted(0.7, 0.15, 0.15) switch
        {
            0 => Another(draw, count, inUsualColors),
            1 => Another(draw, count, inUsualColors: false) with { Kind = last.Kind },
            _ => last,
        };

    private static Thing Another(DrawStream draw, int count, bool inUsualColors)
    {
        ThingKind kind = draw.Pick(s_kinds);
        return new(kind, Color(draw, kind, inUsualColors), 0, 0, Diameter(draw, count));
    }

    // A color is always drawn, so that later draws stay the same.
    private static ThingColor Color(DrawStream draw, ThingKind kind, bool inUsualColors)
    {
        ThingColor color = draw.Pick(s_colors);
        return inUsualColors ? Usual.Color(kind) : color;
    }

    // Captions distinguish things by kind, or else by color; equal things are counted.
    private static bool IsDistinct(Thing thing, List<Thing> others, SceneTask task) => others.TrueForAll(other =>
        task is SceneTask.Counting or SceneTask.Free
            ? other == thing || (other.Kind, other.Color) != (thing.Kind, thing.Color)
            : other.Kind != thing.Kind && (task != SceneTask.Attribution || other.Color != thing.Color));

    // The sizes are close to 9, 11, 13 and 15 cells of pixel art.
    private static double Diameter(DrawStream draw, int count) => count switch
    {
        1 => draw.Weighted(0.25, 0.35, 0.4),
        2 => draw.Weighted(0.35, 0.4, 0.25),
        3 => draw.Weighted(0.5, 0.5),
        _ => draw.Weighted(0.65, 0.35),
    } switch
    {
        0 => draw.Between(0.265, 0.28),
        1 => draw.Between(0.335, 0.355),
        _ => count == 1 ? draw.Between(0.44, 0.54) : draw.Between(0.42, 0.437),
    };

    // Draws a small thing in a container. Containers are larger than all other things, and the two colors are distinct.
    private static List<Thing> Nested(DrawStream draw, bool inUsualColors)
    {
        double outer = draw.Between(0.65, 0.7), inner = draw.Between(0.265, 0.28);
        double x = Coordinate(draw, outer), y = Coordinate(draw, outer);
        ThingKind holder = draw.Pick(s_containers);
        var container = new Thing(holder, Color(draw, holder, inUsualColors), x, y, outer);
        while (true)
        {
            ThingKind kind = draw.Pick(s_kinds);
            var content = new Thing(
                kind, Color(draw, kind, inUsualColors),
                x + draw.Between(-0.008, 0.008), y + draw.Between(-0.008, 0.008), inner);
            if (content.Kind != container.Kind && ThingColors.AreDistinct(content.Color, container.Color))
            {
                return [container, content];
            }
        }
    }

    private static bool Place(DrawStream draw, List<Thing> things, Relation? relation)
    {
        for (int i = 0; i < things.Count; i++)
        {
            int tries = 0;
            do
            {
                if (++tries > PlacesMax)
                {
                    return false;
                }

                double diameter = things[i].Diameter;
                things[i] = things[i] with { X = Coordinate(draw, diameter), Y = Coordinate(draw, diameter) };
            }
            while (!Fits(things, i, relation));
        }

        return true;
    }

    private static bool Fits(List<Thing> things, int last, Relation? relation)
    {
        Spot spot = Placement.Of(things[last]);
        for (int i = 0; i < last; i++)
        {
            Spot other = Placement.Of(things[i]);
            if (!Placement.AreApart(spot, other) || (relation is { } wanted && !Placement.IsClear(wanted, other, spot)))
            {
                return false;
            }
        }

        return true;
    }

    private static double Coordinate(DrawStream draw, double diameter)
    {
        double edge = (diameter / 2) + Placement.Edge;
        return draw.Between(edge, 1 - edge);
    }
}
