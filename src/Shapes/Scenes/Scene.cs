// Scenes: the contents of a picture of the demo world, from which it is drawn and described. Lengths are fractions of
// the picture's side; x points right, y points down.
namespace Atelier.Shapes.Scenes;

/// <summary>
/// The kind of a thing. The meaning of a seed and of an oracle's weights depends on the numeric values, so they never
/// change.
/// </summary>
public enum ThingKind
{
    /// <summary>A disc.</summary>
    Circle,

    /// <summary>An upright square.</summary>
    Square,

    /// <summary>A triangle on its base.</summary>
    Triangle,

    /// <summary>A five-pointed star.</summary>
    Star,

    /// <summary>A heart.</summary>
    Heart,

    /// <summary>A ring with a transparent hole.</summary>
    Ring,

    /// <summary>An upright cross of two equal bars.</summary>
    Cross,

    /// <summary>A crescent moon.</summary>
    Moon,

    /// <summary>A house; its color is that of the walls.</summary>
    House,

    /// <summary>A tree; its color is that of the crown.</summary>
    Tree,

    /// <summary>A flower seen from above; its color is that of the petals.</summary>
    Flower,

    /// <summary>A fish that swims to the left.</summary>
    Fish,
}

/// <summary>Main color of a thing. The thing's details are shades of this color, or small.</summary>
public enum ThingColor
{
    /// <summary>Red.</summary>
    Red,

    /// <summary>Orange.</summary>
    Orange,

    /// <summary>Yellow.</summary>
    Yellow,

    /// <summary>Green.</summary>
    Green,

    /// <summary>Blue.</summary>
    Blue,

    /// <summary>Purple.</summary>
    Purple,

    /// <summary>Pink.</summary>
    Pink,

    /// <summary>Brown.</summary>
    Brown,

    /// <summary>Black.</summary>
    Black,

    /// <summary>White.</summary>
    White,
}

/// <summary>Size of a thing: its diameter, relative to the picture.</summary>
public enum ThingSize
{
    /// <summary>About a quarter of the picture's side.</summary>
    Small,

    /// <summary>About a third of the side.</summary>
    Medium,

    /// <summary>About half of the side, or more if the thing contains another one.</summary>
    Large,
}

/// <summary>
/// The background behind the things. All except the night sky are light and muted, so that every color stands out.
/// </summary>
public enum Background
{
    /// <summary>One tone.</summary>
    Plain,

    /// <summary>A gradient from one tone to another.</summary>
    Gradient,

    /// <summary>Stripes of two tones.</summary>
    Stripes,

    /// <summary>Squares of two tones.</summary>
    Checkerboard,

    /// <summary>
    /// A dark sky with points of light. Things have a pale rim there, so that dark ones stand out too.
    /// </summary>
    NightSky,

    /// <summary>Grass below a daytime sky.</summary>
    Meadow,

    /// <summary>Water below a daytime sky.</summary>
    Sea,
}

/// <summary>The style of the picture.</summary>
public enum ArtStyle
{
    /// <summary>Even areas of color.</summary>
    Flat,

    /// <summary>Even areas with bold contours, dark ones or, around black things and at night, pale ones.</summary>
    Outline,

    /// <summary>Square cells whose side is 1/32 of the picture's; things are lit from the top left.</summary>
    PixelArt,

    /// <summary>Swirling brush strokes in the manner of van Gogh.</summary>
    StarryNight,
}

/// <summary>The position of one thing relative to another.</summary>
public enum Relation
{
    /// <summary>The subject is left of the object.</summary>
    LeftOf,

    /// <summary>The subject is right of the object.</summary>
    RightOf,

    /// <summary>The subject is above the object.</summary>
    Above,

    /// <summary>The subject is below the object.</summary>
    Below,

    /// <summary>The subject is inside the object, which is a circle, a square or a ring.</summary>
    Inside,
}

/// <summary>A thing in a scene.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Color">Its main color.</param>
/// <param name="X">Distance of its center from the left.</param>
/// <param name="Y">Distance of its center from the top.</param>
/// <param name="Diameter">Side length of the square that the thing fills.</param>
public sealed record Thing(ThingKind Kind, ThingColor Color, double X, double Y, double Diameter)
{
    /// <summary>Its size class.</summary>
    public ThingSize Size => SizeOf(Diameter);

    /// <summary>
    /// The size class of a diameter. The sampler draws no diameters close to the limits between classes.
    /// </summary>
    public static ThingSize SizeOf(double diameter) =>
        diameter < 0.307 ? ThingSize.Small : diameter < 0.39 ? ThingSize.Medium : ThingSize.Large;
}

/// <summary>A relation that the scene was laid out to show clearly, so that a caption may state it.</summary>
/// <param name="Relation">The relation.</param>
/// <param name="Subject">Index, in the scene's list, of the thing whose position is stated.</param>
/// <param name="Object">Index of the thing to which the position is relative.</param>
public sealed record StatedRelation(Relation Relation, int Subject, int Object);

/// <summary>A scene: everything that a picture depends on, except its side in pixels.</summary>
/// <param name="Background">The background.</param>
/// <param name="Style">The style.</param>
/// <param name="Things">
/// 1 to 4 things, drawn in this order. They do not touch, except that one may be inside a larger one.
/// </param>
/// <param name="Stated">A relation for the caption; null if the scene was not laid out for one.</param>
/// <param name="Detail">Seed of details that captions never mention: tones, directions, strokes.</param>
public sealed record Scene(
    Background Background, ArtStyle Style, IReadOnlyList<Thing> Things, StatedRelation? Stated, uint Detail)
{
    /// <summary>Maximum number of things in a scene.</summary>
    public const int ThingsMax = 4;
}
