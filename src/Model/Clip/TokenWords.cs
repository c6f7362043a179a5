// The splitting of a cleaned prompt into words. It is equivalent to the regular expression of OpenCLIP's tokenizer,
//   <start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+      (ignoring case)
// over Unicode characters; .NET's regular expressions would see the halves of surrogate pairs.
using System.Globalization;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>Finds the words of a text, one after the other.</summary>
internal static class TokenWords
{
    /// <summary>The marks that a prompt may contain literally; they are words of their own.</summary>
    public const string StartMark = "<start_of_text>", EndMark = "<end_of_text>";

    private static readonly string[] Fixed = [StartMark, EndMark, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private enum Kind
    {
        Between,
        Letter,
        Number,
        Other,
    }

    /// <summary>Finds the first word at or after a position; false if there is none.</summary>
    /// <param name="text">Text in lower case.</param>
    /// <param name="at">In: where to start; out: the end of the word.</param>
    /// <param name="word">The word.</param>
    public static bool TryNext(string text, ref int at, out ReadOnlySpan<char> word)
    {
        while (at < text.Length)
        {
            int start = at;
            Kind kind = KindAt(text, at, out int length);
            int literal = FixedLength(text.AsSpan(at));
            at += literal > 0 ? literal : length;
            if (literal == 0 && kind is Kind.Letter or Kind.Other)
            {
                while (at < text.Length && KindAt(text, at, out length) == kind)
                {
                    at += length;
                }
            }
            if (kind != Kind.Between)
            {
                word = text.AsSpan(start, at - start);
                return true;
            }
        }
        word = default;
        return false;
    }

    private static int FixedLength(ReadOnlySpan<char> rest)
    {
        if (rest[0] is '\'' or '<')
        {
            foreach (string literal in Fixed)
            {
                if (StartsWith(rest, literal))
                {
                    return literal.Length;
                }
            }
        }
        return 0;
    }

    // After lower-casing, the long s is the only letter that differs from an ASCII letter by case alone.
    private static bool StartsWith(ReadOnlySpan<char> rest, string literal)
    {
        if (rest.Length < literal.Length)
        {
            return false;
        }
        for (int i = 0; i < literal.Length; i++)
        {
            if (rest[i] != literal[i] && !(rest[i] == 'ſ' && literal[i] == 's'))
            {
                return false;
            }
        }
        return true;
    }

    private static Kind KindAt(string text, int at, out int length)
    {
        Rune rune = Rune.GetRuneAt(text, at);
        length = rune.Utf16SequenceLength;
        // The iota subscript is a mark whose capital is a letter: when case is ignored, it matches neither \p{L} nor
        // the class of other characters.
        if (Rune.IsWhiteSpace(rune) || rune.Value == 0x345)
        {
            return Kind.Between;
        }
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber =>
                Kind.Number,
            _ => Kind.Other,
        };
    }
}
