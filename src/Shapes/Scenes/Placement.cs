// The geometry of relations, shared by the sampler, the held-out combinations and the judge.
namespace Atelier.Shapes.Scenes;

/// <summary>The position and extent of a drawn or perceived thing, in fractions of the picture's side.</summary>
/// <param name="X">Distance of the center from the left.</param>
/// <param name="Y">Distance of the center from the top.</param>
/// <param name="Diameter">Side length of the square around the thing.</param>
public readonly record struct Spot(double X, double Y, double Diameter);

/// <summary>Relations between positions.</summary>
public static class Placement
{
    /// <summary>Minimum distance between centers along an axis for a direction to hold.</summary>
    public const double Margin = 0.12;

    /// <summary>Free space between things, enough for contours and cells of pixel art.</summary>
    public const double Gap = 0.05;

    /// <summary>Free space between things and the picture's edge.</summary>
    public const double Edge = 0.02;

    // A relation is stated only if it is clear: the centers are at least this distance apart along the relation's axis,
    // and their distance across the axis is at most this fraction of that.
    private const double ClearDistance = 0.3;
    private const double ClearDrift = 0.45;

    /// <summary>The position and extent of a thing.</summary>
    public static Spot Of(Thing thing) => new(thing.X, thing.Y, thing.Diameter);

    /// <summary>
    /// Whether a relation holds. A direction holds if the distance of the centers along its axis is at least the margin
    /// and exceeds their distance across the axis, and neither thing is inside the other.
    /// </summary>
    public static bool Holds(Relation relation, Spot subject, Spot reference)
    {
        if (relation == Relation.Inside)
        {
            return IsInside(subject, reference);
        }

        (double along, double across) = Split(relation, subject, reference);
        return along >= Margin && along > across && !IsInside(subject, reference) && !IsInside(reference, subject);
    }

    /// <summary>Whether a direction holds clearly enough to be stated.</summary>
    public static bool IsClear(Relation relation, Spot subject, Spot reference)
    {
        (double along, double across) = Split(relation, subject, reference);
        return along >= ClearDistance && across <= ClearDrift * along;
    }

    /// <summary>The relation that holds between two things; null if none of the relations holds.</summary>
    public static Relation? Between(Spot subject, Spot reference)
    {
        foreach (Relation relation in Enum.GetValues<Relation>())
        {
            if (Holds(relation, subject, reference))
            {
                return relation;
            }
        }

        return null;
    }

    /// <summary>The same relation seen from the other thing; null for inside, which has no converse here.</summary>
    public static Relation? Converse(Relation relation) => relation switch
    {
        Relation.LeftOf => Relation.RightOf,
        Relation.RightOf => Relation.LeftOf,
        Relation.Above => Relation.Below,
        Relation.Below => Relation.Above,
        _ => null,
    };

    /// <summary>Whether there is at least <see cref="Gap"/> between the squares around two things.</summary>
    public static bool AreApart(Spot a, Spot b)
    {
        double reach = ((a.Diameter + b.Diameter) / 2) + Gap;
        return Math.Abs(a.X - b.X) >= reach || Math.Abs(a.Y - b.Y) >= reach;
    }

    private static bool IsInside(Spot inner, Spot outer) =>
        inner.Diameter < 0.7 * outer.Diameter
        && Math.Max(Math.Abs(inner.X - outer.X), Math.Abs(inner.Y - outer.Y)) < 0.3 * outer.Diameter;

    private static (double Along, double Across) Split(Relation relation, Spot subject, Spot reference)
    {
        (double right, double down) = (subject.X - reference.X, subject.Y - reference.Y);
        return relation switch
        {
            Relation.LeftOf => (-right, Math.Abs(down)),
            Relation.RightOf => (right, Math.Abs(down)),
            Relation.Above => (-down, Math.Abs(right)),
            Relation.Below => (down, Math.Abs(right)),
            _ => throw new ArgumentOutOfRangeException(nameof(relation), relation, "Inside is not a direction."),
        };
    }
}
