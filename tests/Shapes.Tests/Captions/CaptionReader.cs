// Reads captions back: finds the things they name, how many, in which color and size, and their relation.
using System.Text.RegularExpressions;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Tests.Captions;

/// <summary>The result of reading a caption.</summary>
internal sealed record Reading(IReadOnlyList<ExpectedThings> Things, ExpectedRelation? Relation);

internal static class CaptionReader
{
    private static readonly Dictionary<string, int> s_numbers = new(StringComparer.Ordinal)
    {
        ["one"] = 1, ["two"] = 2, ["three"] = 3, ["four"] = 4, ["2"] = 2, ["3"] = 3, ["4"] = 4,
        ["pair of"] = 2, ["couple of"] = 2,
    };

    public static Reading Read(string caption, Expectation says)
    {
        // Background and style are removed first: they contain nouns and prepositions of their own.
        string text = " " + caption.ToLowerInvariant().TrimEnd('.') + " ";
        string[] aside =
        [
            .. says.Background is { } background ? Wording.Places(background) : [],
            .. says.Style is { } style ? Wording.StyleLeads(style).Concat(Wording.StyleEnds(style)) : [],
        ];
        foreach (string phrase in aside.OrderByDescending(phrase => phrase.Length))
        {
            text = text.Replace(" " + phrase, " ", StringComparison.Ordinal);
        }

        var mentions = new List<ExpectedThings>();
        string nouns = Words(
            Enum.GetValues<ThingKind>(),
            kind => [.. Wording.Nouns(kind).SelectMany(noun => new[] { noun.Many, noun.One })]);
        string numbers = string.Join('|', s_numbers.Keys);
        string colors = Words(Enum.GetValues<ThingColor>(), Wording.Adjectives);
        string sizes = Words(Enum.GetValues<ThingSize>(), Wording.Adjectives);
        string bare = Regex.Replace(
            text,
            $@"(?:\b(?<number>{numbers}) )?(?:\b(?<size>{sizes}) )?(?:\b(?<colour>{colors}) )?\b(?<noun>{nouns})\b",
            match =>
            {
                mentions.Add(Mention(match));
                return "#";
            },
            RegexOptions.NonBacktracking);
        return new Reading(mentions, mentions.Count == 2 ? Relate(bare, mentions[0].Kind, mentions[1].Kind) : null);
    }

    private static ExpectedThings Mention(Match match)
    {
        string noun = match.Groups["noun"].Value;
        ThingKind kind = Enum.GetValues<ThingKind>()
            .Single(k => Wording.Nouns(k).Any(n => n.One == noun || n.Many == noun));
        int count = s_numbers.GetValueOrDefault(match.Groups["number"].Value, 1);
        bool agrees = Wording.Nouns(kind).Any(n => (count == 1 ? n.One : n.Many) == noun);
        return new ExpectedThings(
            kind, agrees ? count : -1, Find<ThingColor>(match.Groups["colour"].Value, Wording.Adjectives),
            Find<ThingSize>(match.Groups["size"].Value, Wording.Adjectives));
    }

    // The things are # now; the text between and after them gives the relation.
    private static ExpectedRelation? Relate(string text, ThingKind first, ThingKind second)
    {
        (string Pattern, Relation Relation, bool IsOfFirst)[] rules =
        [
            ("# on the left and .*# on the right", Relation.LeftOf, true),
            ("# at the top and .*# at the bottom", Relation.Above, true),
            ("with .*# (on|to) its left", Relation.LeftOf, false),
            ("with .*# (on|to) its right", Relation.RightOf, false),
            ("with .*# above it", Relation.Above, false), ("with .*# below it", Relation.Below, false),
            ("with .*# inside", Relation.Inside, false), ("# containing ", Relation.Inside, false),
            ("# (to the |on the )?left of ", Relation.LeftOf, true),
            ("# (to the |on the )?right of ", Relation.RightOf, true),
            ("# (above|over) ", Relation.Above, true), ("# (below|under|beneath) ", Relation.Below, true),
            ("# (inside|in|within|inside of) ", Relation.Inside, true),
        ];
        foreach ((string pattern, Relation relation, bool isOfFirst) in rules)
        {
            if (Regex.IsMatch(text, pattern, RegexOptions.NonBacktracking))
            {
                return isOfFirst
                    ? new ExpectedRelation(relation, first, second)
                    : new ExpectedRelation(relation, second, first);
            }
        }

        return null;
    }

    private static T? Find<T>(string word, Func<T, string[]> words)
        where T : struct, Enum =>
        word.Length == 0 ? null : Enum.GetValues<T>().Single(value => words(value).Contains(word));

    private static string Words<T>(T[] values, Func<T, string[]> words) =>
        string.Join('|', values.SelectMany(words).OrderByDescending(word => word.Length));
}
