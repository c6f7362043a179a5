// The vocabulary of the demo world. No word is ambiguous, and none implies details that the scene does not have.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Captions;

/// <summary>Words and phrases by meaning. The first of each list is the most frequent.</summary>
internal static class Wording
{
    public static readonly string[] Leads =
    [
        "a picture of", "an image of", "a drawing of", "an illustration of", "draw", "show me", "picture of",
        "image of",
        "a simple picture of", "i want", "please draw", "make", "generate", "can you draw",
        "create", "give me", "a cute picture of", "a pretty image of", "a sketch of", "a scene with", "i would like",
        "artwork of", "paint me",
    ];

    public static readonly string[] Numbers = ["no", "one", "two", "three", "four"];

    public static (string One, string Many)[] Nouns(ThingKind kind) => kind switch
    {
        ThingKind.Circle => [("circle", "circles"), ("disc", "discs"), ("ball", "balls")],
        ThingKind.Square => [("square", "squares"), ("box", "boxes")],
        ThingKind.Triangle => [("triangle", "triangles")],
        ThingKind.Star => [("star", "stars"), ("five-pointed star", "five-pointed stars")],
        ThingKind.Heart => [("heart", "hearts"), ("love heart", "love hearts")],
        ThingKind.Ring => [("ring", "rings"), ("hoop", "hoops")],
        ThingKind.Cross => [("cross", "crosses"), ("plus sign", "plus signs")],
        ThingKind.Moon => [("moon", "moons"), ("crescent", "crescents"), ("crescent moon", "crescent moons")],
        ThingKind.House => [("house", "houses"), ("cottage", "cottages"), ("hut", "huts")],
        ThingKind.Tree => [("tree", "trees")],
        ThingKind.Flower => [("flower", "flowers"), ("blossom", "blossoms"), ("bloom", "blooms")],
        _ => [("fish", "fish")],
    };

    public static string[] Adjectives(ThingColor color) => color switch
    {
        ThingColor.Red => ["red", "scarlet", "crimson", "bright red"],
        ThingColor.Purple => ["purple", "violet"],
        ThingColor.Brown => ["brown", "chocolate brown"],
        ThingColor.Black => ["black", "jet black", "pitch black"],
        ThingColor.White => ["white", "snow white", "pure white"],
        ThingColor.Orange => ["orange", "bright orange"],
        ThingColor.Yellow => ["yellow", "golden yellow", "bright yellow"],
        ThingColor.Green => ["green", "emerald green"],
        ThingColor.Blue => ["blue", "royal blue"],
        _ => ["pink", "rose pink"],
    };

    public static string[] Adjectives(ThingSize size) => size switch
    {
        ThingSize.Small => ["small", "little", "tiny"],
        ThingSize.Medium => ["medium-sized", "mid-sized", "medium"],
        _ => ["big", "large", "huge", "giant"],
    };

    // Places follow the things after a space, or start the sentence and end with a comma.
    public static string[] Places(Background background) => background switch
    {
        Background.Plain =>
            ["on a plain background", "on a simple background", "against a plain backdrop", "on a blank background"],
        Background.Gradient =>
            ["on a gradient background", "on a gradient", "against a smooth gradient", "over a soft gradient"],
        Background.Stripes =>
            ["on a striped background", "on stripes", "in front of stripes", "against a striped wall"],
        Background.Checkerboard =>
        [
                "on a checkerboard", "on a checkered background", "on a checkerboard background",
                "on a chessboard pattern",
        ],
        Background.NightSky =>
            ["at night", "in the night sky", "against the night sky", "under a night sky", "by night", "after dark"],
        Background.Meadow =>
        [
            "in a meadow", "on a meadow", "in a grassy field", "on the grass", "in the countryside", "in a field",
        ],
        _ => ["at sea", "by the sea", "on the ocean", "over the ocean", "at the seaside", "on the waves"],
    };

    // Styles at the start of the sentence, before the things.
    public static string[] StyleLeads(ArtStyle style) => style switch
    {
        ArtStyle.Flat => ["a flat illustration of", "a flat design of", "a flat drawing of", "a minimalist drawing of"],
        ArtStyle.Outline =>
            ["a cartoon of", "an outlined drawing of", "a bold outline drawing of", "a cartoon drawing of"],
        ArtStyle.PixelArt => ["pixel art of", "a pixel art picture of", "a pixelated picture of", "8-bit art of"],
        _ => ["a swirly painting of", "a starry night style painting of", "a van gogh painting of", "a painting of"],
    };

    // Styles at the end of the sentence, after a comma.
    public static string[] StyleEnds(ArtStyle style) => style switch
    {
        ArtStyle.Flat => ["flat style", "flat design", "in a flat style", "minimalist style", "vector art"],
        ArtStyle.Outline =>
            ["cartoon style", "with bold outlines", "outlined", "in cartoon style", "comic book style"],
        ArtStyle.PixelArt => ["pixel art", "pixel art style", "in pixel art style", "8-bit", "retro game style"],
        _ =>
        [
            "in the style of starry night", "painted with swirling strokes", "starry night style",
            "in the style of van gogh", "oil painting", "with swirly brush strokes",
        ],
    };

    // Relations: {0} is the subject, {1} the object.
    public static string[] Patterns(Relation relation) => relation switch
    {
        Relation.LeftOf =>
        [
            "{0} to the left of {1}", "{0} left of {1}", "{0} on the left of {1}", "{1} with {0} on its left",
            "{0} on the left and {1} on the right", "{1} to the right of {0}", "{1} with {0} to its left",
        ],
        Relation.RightOf =>
        [
            "{0} to the right of {1}", "{0} right of {1}", "{0} on the right of {1}", "{1} with {0} on its right",
            "{1} on the left and {0} on the right", "{1} to the left of {0}", "{1} with {0} to its right",
        ],
        Relation.Above =>
        [
            "{0} above {1}", "{0} over {1}", "{1} below {0}", "{1} with {0} above it", "{1} under {0}",
            "{0} at the top and {1} at the bottom",
        ],
        Relation.Below =>
        [
            "{0} below {1}", "{0} under {1}", "{0} beneath {1}", "{1} above {0}", "{1} with {0} below it",
            "{1} at the top and {0} at the bottom",
        ],
        _ =>
        [
            "{0} inside {1}", "{0} in {1}", "{0} within {1}", "{1} with {0} inside", "{1} containing {0}",
            "{0} inside of {1}",
        ],
    };
}
