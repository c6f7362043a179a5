// The cleaning that OpenCLIP's tokenizer applies to a prompt before splitting it into words. The network was trained on
// texts cleaned like this, so every step and the order of the steps matter: the text repairs that ftfy 6.3.1 makes by
// default, two passes of decoding HTML character references, collapsing white space, and conversion to lower case.
using System.Collections.Frozen;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>Cleans prompts for the CLIP tokenizer. Pure functions that take linear time.</summary>
public static class TextCleaning
{
    private const char Escape = '\u001B';

    // A repair may produce text that an earlier repair would fix, so repairs run in rounds. Real texts need two rounds;
    // this limits the rounds of hostile texts.
    private const int RoundsMax = 8;

    // Characters that are replaced everywhere; an empty replacement removes the character.
    private static readonly FrozenDictionary<char, string> Substitutes = CollectSubstitutes();

    /// <summary>
    /// Cleans a prompt: repairs it, converts it to Unicode's normalization form C, decodes HTML references, collapses
    /// white space, trims it and converts it to lower case.
    /// </summary>
    /// <param name="prompt">
    /// Any text. Unpaired surrogates become U+FFFD, as in the reference, so that a prompt that was cut in the middle of
    /// an emoji is still accepted.
    /// </param>
    public static string Clean(string prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        string text = TextEntities.Unescape(TextEntities.Unescape(Repair(prompt)));
        return TextCasing.ToLower(CollapseSpaces(text));
    }

    /// <summary>Applies the text repairs only.</summary>
    internal static string Repair(string text)
    {
        if (text.AsSpan().IndexOfAnyExceptInRange(' ', '~') < 0 && !text.Contains('&', StringComparison.Ordinal))
        {
            return text;
        }
        text = ReplaceLoneSurrogates(text);
        for (int round = 0; round < RoundsMax; round++)
        {
            string before = text;
            text = RepairOnce(text);
            if (text == before)
            {
                break;
            }
        }
        return text;
    }

    private static string RepairOnce(string text)
    {
        // From the first line with a '<' on, the text is treated as HTML, whose references are decoded in a later step.
        int markup = text.IndexOf('<', StringComparison.Ordinal);
        int lines = markup < 0 ? text.Length : text[..markup].LastIndexOf('\n') + 1;

        // Wrong decodings are undone after references are decoded and before quotation marks are straightened.
        string plain = Mojibake.Repair(Decode(text[..lines], repeatedly: false));
        string html = Mojibake.Repair(text[lines..]);

        // ftfy repeats its repairs until nothing changes. Only the first round can find an escape character, because
        // that round removes all of them. The other repairs, except the repair of wrong decodings, lead to the same
        // normal form in any order, so one pass over the text computes that form.
        if (text.Contains(Escape, StringComparison.Ordinal))
        {
            plain = RemoveTerminalEscapes(Substitute(plain, removing: false));
            html = RemoveTerminalEscapes(Substitute(html, removing: false));
        }
        return TextNormalization.Compose(Decode(plain, repeatedly: true) + Substitute(html, removing: true));
    }

    private static string ReplaceLoneSurrogates(string text)
    {
        StringBuilder? repaired = null;
        for (int at = 0; at < text.Length; at++)
        {
            if (char.IsSurrogatePair(text, at))
            {
                at++;
            }
            else if (char.IsSurrogate(text[at]))
            {
                repaired ??= new StringBuilder(text);
                repaired[at] = '\uFFFD';
            }
        }
        return repaired?.ToString() ?? text;
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Strict decoding of references: "&name;" is decoded if the name is known; anything else stays as it is.

    private static string Decode(string text, bool repeatedly)
    {
        if (!text.Contains('&', StringComparison.Ordinal) && !repeatedly)
        {
            return text;
        }
        var output = new List<char>(text.Length);
        int floor = 0; // Text before this index was decoded in this pass and is not examined again.
        foreach (char c in text)
        {
            string pending = repeatedly && SubstituteFor(c) is { } substitute ? substitute : c.ToString();
            while (true)
            {
                output.AddRange(pending);
                if (pending != ";" || !TryTakeReference(output, floor, out pending))
                {
                    break;
                }
                if (!repeatedly)
                {
                    output.AddRange(pending);
                    floor = output.Count;
                    break;
                }
                // As in "&amp;lt;", a decoded character may be part of the next reference, and "&semi;" may even end
                // one.
                pending = SubstituteAll(pending);
            }
        }
        return new string(CollectionsMarshal.AsSpan(output));
    }

    // If the output ends in a reference, removes it and returns its value.
    private static bool TryTakeReference(List<char> output, int floor, out string value)
    {
        ReadOnlySpan<char> tail = CollectionsMarshal.AsSpan(output)[floor..^1];
        tail = tail[Math.Max(0, tail.Length - TextEntities.StrictNameMax - "&#".Length)..];
        int body = tail.LastIndexOf('&') + 1;
        value = "";
        if (body == 0 || tail.Length - body == 0 || tail.Length - body > MaxBody(tail[body])
            || !TextEntities.TryDecode(tail[body..], out value))
        {
            return false;
        }
        int length = tail.Length - body + "&;".Length;
        output.RemoveRange(output.Count - length, length);
        return true;

        static int MaxBody(char first) => TextEntities.StrictNameMax + (first == '#' ? 1 : 0);
    }

    private static string SubstituteAll(string value) =>
        string.Concat(value.Select(c => SubstituteFor(c) ?? c.ToString()));

    // The two characters whose canonical form is ASCII and may be part of a reference are mapped here, although
    // normalization itself comes last.
    private static string? SubstituteFor(char c) => c switch
    {
        '\u037E' => ";",
        '\u212A' => "K",
        _ => Substitutes.GetValueOrDefault(c),
    };

    // -----------------------------------------------------------------------------------------------------------------
    // Single characters.

    private static string Substitute(string text, bool removing)
    {
        var output = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            if (Substitutes.TryGetValue(c, out string? substitute) && (removing || substitute.Length > 0))
            {
                output.Append(substitute);
            }
            else
            {
                output.Append(c);
            }
        }
        return output.ToString();
    }

    // Removes ESC [ digits-and-semicolons letter, the sequences that color text in a terminal.
    private static string RemoveTerminalEscapes(string text)
    {
        var output = new StringBuilder(text.Length);
        int done = 0;
        for (int at = text.IndexOf(Escape, StringComparison.Ordinal); at >= 0; at = text.IndexOf(Escape, at + 1))
        {
            int end = at + 1;
            if (end == text.Length || text[end] != '[')
            {
                continue;
            }
            for (end++; end < text.Length; end += Rune.GetRuneAt(text, end).Utf16SequenceLength)
            {
                if (text[end] != ';' && CharUnicodeInfo.GetUnicodeCategory(text, end)
                    != UnicodeCategory.DecimalDigitNumber)
                {
                    break;
                }
            }
            if (end < text.Length && char.IsAsciiLetter(text[end]))
            {
                output.Append(text, done, at - done);
                done = end + 1;
            }
        }
        return output.Append(text, done, text.Length - done).ToString();
    }

    private static string CollapseSpaces(string text)
    {
        var output = new StringBuilder(text.Length);
        bool pending = false;
        foreach (char c in text)
        {
            if (char.IsWhiteSpace(c))
            {
                pending = output.Length > 0;
                continue;
            }
            if (pending)
            {
                output.Append(' ');
                pending = false;
            }
            output.Append(c);
        }
        return output.ToString();
    }

    private static FrozenDictionary<char, string> CollectSubstitutes()
    {
        var all = new Dictionary<char, string>();
        // Control characters that are not white space, deprecated Arabic control characters, the byte order mark and
        // annotation characters are removed.
        AddRange('\0', '\b', _ => "");
        all.Add('\v', "");
        AddRange('\u000E', '\u001F', _ => "");
        all.Add('\u007F', "");
        AddRange('\u206A', '\u206F', _ => "");
        all.Add('\uFEFF', "");
        AddRange('\uFFF9', '\uFFFC', _ => "");
        // Every line break becomes a line feed.
        all.Add('\r', "\n");
        AddRange('\u2028', '\u2029', _ => "\n");
        // Quotation marks become straight.
        AddRange('\u2018', '\u201B', _ => "'");
        AddRange('\u201C', '\u201F', _ => "\"");
        all.Add('\u02BC', "'");
        // The control characters U+0080 to U+009F were meant as Windows-1252, whose quotation marks become straight
        // too.
        AddRange('\u0080', '\u009F', c =>
            all.GetValueOrDefault(TextEntities.Windows1252[c - 0x80], TextEntities.Windows1252[c - 0x80].ToString()));
        string[] ligatures = TextTables.Words(TextTables.Ligatures);
        for (int i = 0; i < ligatures.Length; i += 2)
        {
            all.Add(ligatures[i][0], ligatures[i + 1]);
        }
        // Full-width Latin letters, half-width Katakana and Hangul, and symbols of both widths get their usual forms.
        all.Add('\u3000', " ");
        AddRange('\uFF01', '\uFF5E', c => ((char)(c - '\uFF01' + '!')).ToString());
        AddRange('\uFF5F', '\uFFEE', c => c == '\uFFE3' ? " \u0304" : TextTables.Widths[c - '\uFF5F'].ToString());
        return all.ToFrozenDictionary();

        void AddRange(char first, char last, Func<char, string> substitute)
        {
            for (char c = first; c <= last; c++)
            {
                all.Add(c, substitute(c));
            }
        }
    }
}
