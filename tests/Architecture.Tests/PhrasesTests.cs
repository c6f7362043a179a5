// Goal: texts use the words that readers know and search for. Method: looks for the phrases of eng/phrases.txt in what
// people read: comments and strings of the code, documents, the page.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class PhrasesTests
{
    private const string PhrasesFile = "eng/phrases.txt";

    [Fact]
    public void Prose_IsFreeOfThePhrases()
    {
        (string File, string Text)[] texts =
        [
            .. Repository.Files(".cs", ".md", ".html", ".js")
                .Select(file => (file, Prose(file, Repository.Read(file)))),
        ];
        var complaints = new List<string>();
        foreach (Phrase phrase in Phrase.Read(Repository.Lines(PhrasesFile)))
        {
            string[] found =
            [
                .. texts.Where(
                    text => !phrase.Allowed.Any(start => text.File.StartsWith(start, StringComparison.Ordinal)))
                    .SelectMany(text => phrase.Pattern.Matches(text.Text)
                        .Select(match => $"  {text.File}: ...{Around(text.Text, match)}...")),
            ];
            if (found.Length > 0)
            {
                complaints.Add(
                    $"\"{phrase.Words}\" is found {found.Length} times; say {phrase.Instead}:\n"
                    + string.Join('\n', found.Take(30)));
            }
        }

        Assert.True(complaints.Count == 0, string.Join('\n', complaints));
    }

    private static string Prose(string file, string text) => Path.GetExtension(file) switch
    {
        ".cs" => CSharpText.Split(text).Prose,
        _ => Paragraph().Replace(text, " "),
    };

    private static string Around(string text, Match match)
    {
        int from = Math.Max(0, match.Index - 40), to = Math.Min(text.Length, match.Index + match.Length + 40);
        return text[from..to].ReplaceLineEndings(" ");
    }

    // A single line break; two of them end a paragraph.
    [GeneratedRegex(@"(?<!\n)\n(?!\n)[ \t]*(//+|\*)?")]
    private static partial Regex Paragraph();

    private sealed record Phrase(string Words, string Instead, string[] Allowed)
    {
        // Words may be separated by any white space, including line ends.
        public Regex Pattern { get; } = new(
            $@"(?<!\w){Words.Replace(" ", @"\s+", StringComparison.Ordinal)}(?!\w)",
            RegexOptions.IgnoreCase | RegexOptions.CultureInvariant);

        public static IEnumerable<Phrase> Read(string[] lines) => lines
            .Where(line => line.Length > 0 && !line.StartsWith('#'))
            .Select(line => line.Split(" | ", StringSplitOptions.TrimEntries))
            .Select(cells => new Phrase(
                cells[0], cells[1], cells[2].Split(' ', StringSplitOptions.RemoveEmptyEntries)));
    }
}
