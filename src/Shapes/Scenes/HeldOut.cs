// The combinations held out of the training data, in pictures and in captions, so that evaluation can distinguish
// generalization from memorization.
using Atelier.Model.Randomness;

namespace Atelier.Shapes.Scenes;

/// <summary>Kinds of combinations. Of each kind, some combinations are held out.</summary>
[Flags]
public enum Combinations
{
    /// <summary>No combination.</summary>
    None = 0,

    /// <summary>A kind in a color.</summary>
    KindColor = 1,

    /// <summary>A kind on a background.</summary>
    KindBackground = 2,

    /// <summary>A kind in a style.</summary>
    KindStyle = 4,

    /// <summary>Two different kinds in one picture.</summary>
    KindPair = 8,

    /// <summary>Exactly two, three or four things of a kind in a picture.</summary>
    KindCount = 16,

    /// <summary>A kind in a relation to another kind, even if the caption does not mention the relation.</summary>
    KindRelation = 32,
}

/// <summary>Defines the held-out combinations: about a tenth of each kind, chosen by a fixed hash.</summary>
public static class HeldOut
{
    /// <summary>
    /// Average fraction of each kind of combination that is held out; usual combinations are never held out.
    /// </summary>
    public const double Part = 0.1;

    // Chosen so that no kind, color, background or style loses too many combinations; the tests define the limits.
    private const ulong Salt = 3_874_018;

    private static readonly int s_kinds = Enum.GetValues<ThingKind>().Length;
    private static readonly bool[] s_color = Table(Combinations.KindColor, Enum.GetValues<ThingColor>().Length);
    private static readonly bool[] s_background =
        Table(Combinations.KindBackground, Enum.GetValues<Background>().Length);
    private static readonly bool[] s_style = Table(Combinations.KindStyle, Enum.GetValues<ArtStyle>().Length);
    private static readonly bool[] s_pair = Table(Combinations.KindPair, s_kinds);
    private static readonly bool[] s_count = Table(Combinations.KindCount, Scene.ThingsMax);
    private static readonly bool[] s_relation = Table(Combinations.KindRelation, s_kinds * 3);

    /// <summary>
    /// Whether the kind is held out in this color. The usual color (<see cref="Usual"/>) is never held out, because a
    /// prompt that names only the kind asks for it.
    /// </summary>
    public static bool Contains(ThingKind kind, ThingColor color) =>
        color != Usual.Color(kind) && s_color[((int)color * s_kinds) + (int)kind];

    /// <summary>
    /// Whether the kind is held out on this background, which is never the case for the usual background.
    /// </summary>
    public static bool Contains(ThingKind kind, Background background) =>
        background != Usual.Background && s_background[((int)background * s_kinds) + (int)kind];

    /// <summary>Whether the kind is held out in this style, which is never the case for the usual style.</summary>
    public static bool Contains(ThingKind kind, ArtStyle style) =>
        style != Usual.Style && s_style[((int)style * s_kinds) + (int)kind];

    /// <summary>Whether the combination of two different kinds, in either order, is held out.</summary>
    public static bool Contains(ThingKind a, ThingKind b) =>
        a != b && s_pair[((int)(a < b ? a : b) * s_kinds) + (int)(a < b ? b : a)];

    /// <summary>Whether this number of things of a kind is held out; the number one never is.</summary>
    public static bool Contains(ThingKind kind, int count) =>
        count is > 1 and <= Scene.ThingsMax && s_count[((count - 1) * s_kinds) + (int)kind];

    /// <summary>
    /// Whether this relation between these kinds is held out. If it is, the converse relation is held out, too.
    /// </summary>
    public static bool Contains(Relation relation, ThingKind subject, ThingKind reference) => relation switch
    {
        _ when subject == reference => false,
        Relation.RightOf => Contains(Relation.LeftOf, reference, subject),
        Relation.Below => Contains(Relation.Above, reference, subject),
        Relation.LeftOf => s_relation[((int)subject * s_kinds) + (int)reference],
        Relation.Above => s_relation[((s_kinds + (int)subject) * s_kinds) + (int)reference],
        _ => s_relation[(((2 * s_kinds) + (int)subject) * s_kinds) + (int)reference],
    };

    /// <summary>
    /// The kinds of held-out combinations that a scene contains. Training uses only scenes without held-out
    /// combinations.
    /// </summary>
    public static Combinations In(Scene scene)
    {
        ArgumentNullException.ThrowIfNull(scene);
        var found = InKinds(scene.Background, scene.Style, scene.Things);
        for (int i = 0; i < scene.Things.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                (Thing a, Thing b) = (scene.Things[i], scene.Things[j]);
                if (IsHeldOut(a, b) || IsHeldOut(b, a))
                {
                    found |= Combinations.KindRelation;
                }
            }
        }

        return found;
    }

    // Finds all kinds of held-out combinations except relations, which need positions.
    internal static Combinations InKinds(Background background, ArtStyle style, IReadOnlyList<Thing> things)
    {
        var found = Combinations.None;
        for (int i = 0; i < things.Count; i++)
        {
            Thing thing = things[i];
            found |= Flag(Contains(thing.Kind, thing.Color), Combinations.KindColor)
                | Flag(Contains(thing.Kind, background), Combinations.KindBackground)
                | Flag(Contains(thing.Kind, style), Combinations.KindStyle);
            int equal = 0;
            for (int j = 0; j < things.Count; j++)
            {
                equal += things[j].Kind == thing.Kind ? 1 : 0;
                found |= Flag(Contains(thing.Kind, things[j].Kind), Combinations.KindPair);
            }

            found |= Flag(Contains(thing.Kind, equal), Combinations.KindCount);
        }

        return found;
    }

    private static bool IsHeldOut(Thing subject, Thing reference) =>
        Placement.Between(Placement.Of(subject), Placement.Of(reference)) is { } relation
        && Contains(relation, subject.Kind, reference.Kind);

    private static Combinations Flag(bool holds, Combinations flag) => holds ? flag : Combinations.None;

    // A table with an entry for each kind of thing and each value of the other property.
    private static bool[] Table(Combinations sort, int others)
    {
        var numbers = new float[s_kinds * others];
        SeededNoise.Uniform(Salt, (NoisePurpose)Purpose.HeldOut, (long)sort, numbers);
        return [.. numbers.Select(number => number < Part)];
    }
}
