// Captions of scenes as people would type them: everything they say is true, many details are omitted, and the wording
// varies.
using System.Globalization;
using System.Text;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Captions;

/// <summary>The details that a caption mentions besides the things and their numbers.</summary>
/// <param name="Colors">
/// Colors of all things. Things of one kind in different colors are always distinguished by color.
/// </param>
/// <param name="Sizes">Sizes of all things.</param>
/// <param name="Background">The background.</param>
/// <param name="Style">The style.</param>
/// <param name="Relation">The relation, if the scene states one.</param>
public readonly record struct Mentions(bool Colors, bool Sizes, bool Background, bool Style, bool Relation);

/// <summary>Writes captions.</summary>
public static class Captioner
{
    /// <summary>Maximum length of a caption in characters.</summary>
    public const int LengthMax = 200;

    /// <summary>
    /// Writes caption number <paramref name="index"/> of a seed for a scene, with a random choice of details. Usual
    /// details (<see cref="Usual"/>) are seldom mentioned, unusual ones nearly always.
    /// </summary>
    public static Caption Write(Scene scene, ulong seed, long index)
    {
        ArgumentNullException.ThrowIfNull(scene);
        var draw = new DrawStream(seed, Purpose.Caption, index);
        var mentions = new Mentions(
            Colors: draw.Chance(Usual.HasColors(scene.Things) ? 0.3 : 0.95), Sizes: draw.Chance(0.3),
            Background: draw.Chance(scene.Background == Usual.Background ? 0.2 : 0.95),
            Style: draw.Chance(scene.Style == Usual.Style ? 0.2 : 0.95), Relation: draw.Chance(0.9));
        return Write(scene, mentions, draw);
    }

    /// <summary>Writes caption number <paramref name="index"/> of a seed for a scene, with the given details.</summary>
    public static Caption Write(Scene scene, Mentions mentions, ulong seed, long index) =>
        Write(scene, mentions, new DrawStream(seed, Purpose.Caption, index));

    private static Caption Write(Scene scene, Mentions mentions, DrawStream draw)
    {
        ArgumentNullException.ThrowIfNull(scene);
        bool isTerse = draw.Chance(0.08);
        (string things, Expectation says) = scene.Stated is { } stated && mentions.Relation
            ? Related(scene, stated, mentions, draw, isTerse)
            : Listed(scene, mentions, draw, isTerse);
        says = says with
        {
            Background = mentions.Background ? scene.Background : null,
            Style = mentions.Style ? scene.Style : null,
        };
        return Unmarked(Finish(Sentence(things, says, draw), draw), says);
    }

    // A control character follows each noun while a caption is made, so that it is known where the nouns are.
    private static string Marked(string name, int group) => name + (char)(group + 1);

    private static Caption Unmarked(string marked, Expectation says)
    {
        var text = new StringBuilder(marked.Length);
        var ends = new int[says.Things.Count];
        foreach (char one in marked)
        {
            if (one <= ends.Length)
            {
                ends[one - 1] = text.Length;
            }
            else
            {
                text.Append(one);
            }
        }

        return new Caption(text.ToString(), says) { NounEnds = ends };
    }

    private static string Sentence(string things, Expectation says, DrawStream draw)
    {
        bool stylesFirst = draw.Chance(0.5);
        string text = says.Style is { } style && stylesFirst
            ? $"{Choose(draw, Wording.StyleLeads(style))} {things}"
            : draw.Chance(0.35) ? $"{Choose(draw, Wording.Leads)} {things}" : things;
        if (says.Background is { } background)
        {
            string place = Choose(draw, Wording.Places(background));
            text = draw.Chance(0.15) ? $"{place}, {text}" : $"{text} {place}";
        }

        return says.Style is { } end && !stylesFirst ? $"{text}, {Choose(draw, Wording.StyleEnds(end))}" : text;
    }

    private static string Finish(string text, DrawStream draw)
    {
        if (draw.Chance(0.35))
        {
            text = char.ToUpperInvariant(text[0]) + text[1..];
        }

        return draw.Chance(0.3) ? text + "." : text;
    }

    private static (string Text, Expectation Says) Related(
        Scene scene, StatedRelation stated, Mentions mentions, DrawStream draw, bool isTerse)
    {
        (Thing subject, Thing other) = (scene.Things[stated.Subject], scene.Things[stated.Object]);
        ExpectedThings[] said = [Say([subject], mentions), Say([other], mentions)];
        string text = string.Format(
            CultureInfo.InvariantCulture, Choose(draw, Wording.Patterns(stated.Relation)),
            Marked(Name(said[0], draw, isTerse), 0), Marked(Name(said[1], draw, isTerse), 1));
        var relation = new ExpectedRelation(stated.Relation, subject.Kind, other.Kind);
        return (text, new Expectation(said, relation, null, null));
    }

    private static (string Text, Expectation Says) Listed(Scene scene, Mentions mentions, DrawStream draw, bool isTerse)
    {
        // Without colors, things of one kind in two colors would have to be counted together, so colors are mentioned
        // then.
        bool kindRepeats = scene.Things.GroupBy(thing => thing.Kind)
            .Any(group => group.Select(thing => thing.Color).Distinct().Count() > 1);
        mentions = mentions with { Colors = mentions.Colors || kindRepeats };
        List<ExpectedThings> said =
            [.. scene.Things.GroupBy(thing => (thing.Kind, thing.Color)).Select(group => Say([.. group], mentions))];
        for (int i = said.Count - 1; i > 0; i--)
        {
            int other = draw.Below(i + 1);
            (said[i], said[other]) = (said[other], said[i]);
        }

        string[] names = [.. said.Select((things, i) => Marked(Name(things, draw, isTerse), i))];
        string comma = draw.Chance(0.5) ? "," : "";
        string text = names.Length == 1
            ? names[0]
            : $"{string.Join(", ", names[..^1])}{(names.Length > 2 ? comma : "")} and {names[^1]}";
        return (text, new Expectation(said, null, null, null));
    }

    private static ExpectedThings Say(Thing[] things, Mentions mentions)
    {
        bool alike = Array.TrueForAll(things, thing => thing.Size == things[0].Size);
        return new ExpectedThings(
            things[0].Kind, things.Length, mentions.Colors ? things[0].Color : null,
            mentions.Sizes && alike ? things[0].Size : null);
    }

    // "a small red star", "two red stars", "2 stars", or "small red star" in terse captions.
    private static string Name(ExpectedThings things, DrawStream draw, bool isTerse)
    {
        (string one, string many) = Choose(draw, Wording.Nouns(things.Kind));
        string noun = things.Count == 1 ? one : many;
        if (things.Color is { } color)
        {
            noun = $"{Choose(draw, Wording.Adjectives(color))} {noun}";
        }

        if (things.Size is { } size)
        {
            noun = $"{Choose(draw, Wording.Adjectives(size))} {noun}";
        }

        return things.Count > 1 ? $"{Number(things.Count, draw)} {noun}"
            : isTerse ? noun
            : draw.Chance(0.06) ? $"one {noun}" : $"{Article(noun)} {noun}";
    }

    private static string Article(string noun) => noun[0] is 'a' or 'e' or 'i' or 'o' or 'u' ? "an" : "a";

    private static string Number(int count, DrawStream draw)
    {
        if (count == 2 && draw.Chance(0.1))
        {
            return draw.Pick("a pair of", "a couple of");
        }

        return draw.Chance(0.75) ? Wording.Numbers[count] : count.ToString(CultureInfo.InvariantCulture);
    }

    // Chooses the first wording in half of the cases, otherwise any wording.
    private static T Choose<T>(DrawStream draw, T[] wordings) =>
        draw.Chance(0.5) ? wordings[0] : draw.Pick<T>(wordings);
}
