// What a picture of the demo world shows, before it is drawn and before it is described. Lengths are parts of the
// picture's side; x runs right, y runs down.
namespace Atelier.Shapes.Scenes;

/// <summary>
/// What a thing is. The numbers are part of what a seed and an oracle's weights mean: they never change.
/// </summary>
public enum ThingKind
{
    /// <summary>A disc.</summary>
    Circle,

    /// <summary>A square that stands on a side.</summary>
    Square,

    /// <summary>A triangle that stands on a side.</summary>
    Triangle,

    /// <summary>A star of five points.</summary>
    Star,

    /// <summary>A heart.</summary>
    Heart,

    /// <summary>A ring; what lies behind shows in its hole.</summary>
    Ring,

    /// <summary>A cross of two equal bars, upright.</summary>
    Cross,

    /// <summary>A crescent moon.</summary>
    Moon,

    /// <summary>A house; its walls have the colour.</summary>
    House,

    /// <summary>A tree; its crown has the colour.</summary>
    Tree,

    /// <summary>A flower seen from above; its petals have the colour.</summary>
    Flower,

    /// <summary>A fish that swims to the left.</summary>
    Fish,
}

/// <summary>Main colour of a thing; its details are shades of it, or small.</summary>
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

/// <summary>Size of a thing by its diameter.</summary>
public enum ThingSize
{
    /// <summary>About a quarter of the picture's side.</summary>
    Small,

    /// <summary>About a third.</summary>
    Medium,

    /// <summary>Clearly more than that: about a half, and more if it holds something.</summary>
    Large,
}

/// <summary>
/// What is behind the things. All but the night are light and muted, so that every colour stands out.
/// </summary>
public enum Background
{
    /// <summary>One tone.</summary>
    Plain,

    /// <summary>A passage from one tone to another.</summary>
    Gradient,

    /// <summary>Stripes of two tones.</summary>
    Stripes,

    /// <summary>Squares of two tones.</summary>
    Checkerboard,

    /// <summary>
    /// A dark sky with points of light. Things have a pale rim there, so that dark ones stand out too.
    /// </summary>
    NightSky,

    /// <summary>Grass below a day's sky.</summary>
    Meadow,

    /// <summary>Water below a day's sky.</summary>
    Sea,
}

/// <summary>How the picture is made.</summary>
public enum ArtStyle
{
    /// <summary>Even areas of colour.</summary>
    Flat,

    /// <summary>Even areas with bold contours, dark ones or, around black things and at night, pale ones.</summary>
    Outline,

    /// <summary>Cells of 1/32 of the side, things lit from the top left.</summary>
    PixelArt,

    /// <summary>Swirling strokes of a brush, after van Gogh.</summary>
    StarryNight,
}

/// <summary>Where one thing is, seen from another.</summary>
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

/// <summary>One thing.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Color">Its main colour.</param>
/// <param name="X">Centre from the left.</param>
/// <param name="Y">Centre from the top.</param>
/// <param name="Diameter">Side of the square that it fills.</param>
public sealed record Thing(ThingKind Kind, ThingColor Color, double X, double Y, double Diameter)
{
    /// <summary>The size that words give it.</summary>
    public ThingSize Size => SizeOf(Diameter);

    /// <summary>The size that words give a diameter. Drawn diameters keep clear of the borders.</summary>
    public static ThingSize SizeOf(double diameter) =>
        diameter < 0.307 ? ThingSize.Small : diameter < 0.39 ? ThingSize.Medium : ThingSize.Large;
}

/// <summary>A relation that the scene was laid out to show clearly, so that a caption may state it.</summary>
/// <param name="Relation">The relation.</param>
/// <param name="Subject">Place in the scene's list of the thing that it speaks of.</param>
/// <param name="Object">Place of the thing that it refers to.</param>
public sealed record StatedRelation(Relation Relation, int Subject, int Object);

/// <summary>A scene: all that a picture depends on, apart from its side in pixels.</summary>
/// <param name="Background">What is behind.</param>
/// <param name="Style">How it is drawn.</param>
/// <param name="Things">
/// 1 to 4 things, drawn in this order. They do not touch, except that one may lie inside a bigger one.
/// </param>
/// <param name="Stated">A relation for the caption, if the scene was laid out for one.</param>
/// <param name="Detail">Seed of what captions never mention: tones, directions, strokes.</param>
public sealed record Scene(
    Background Background, ArtStyle Style, IReadOnlyList<Thing> Things, StatedRelation? Stated, uint Detail)
{
    /// <summary>The most things in a scene.</summary>
    public const int ThingsMax = 4;
}
