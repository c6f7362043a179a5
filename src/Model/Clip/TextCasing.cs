// Unicode's full lower-case mapping (section 3.13 of the Unicode Standard). .NET's invariant mapping maps each
// character on its own, without regard to its context.
using System.Globalization;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>
/// Language-independent lower case: İ becomes i with a dot above, and Σ at the end of a word becomes ς.
/// </summary>
internal static class TextCasing
{
    private const char CapitalSigma = 'Σ', Sigma = 'σ', FinalSigma = 'ς';

    /// <summary>The text in lower case.</summary>
    /// <param name="text">Well-formed UTF-16.</param>
    public static string ToLower(string text)
    {
        if (text.AsSpan().IndexOfAny('İ', CapitalSigma) < 0)
        {
            return text.ToLowerInvariant();
        }
        var output = new StringBuilder(text.Length);
        int done = 0;
        for (int at = 0; at < text.Length; at++)
        {
            if (text[at] is 'İ' or CapitalSigma)
            {
                output.Append(text[done..at].ToLowerInvariant());
                output.Append(text[at] == 'İ' ? "i\u0307" : EndsWord(text, at) ? FinalSigma : Sigma);
                done = at + 1;
            }
        }
        return output.Append(text[done..].ToLowerInvariant()).ToString();
    }

    // The rule for a final sigma: there is a cased letter before it and none after it, ignoring marks and apostrophes
    // in between. Both searches end at the next sigma at the latest, so that even a text of only sigmas and marks is
    // read in linear time.
    private static bool EndsWord(ReadOnlySpan<char> text, int at)
    {
        bool casedBefore = false;
        for (ReadOnlySpan<char> before = text[..at]; !before.IsEmpty;)
        {
            Rune.DecodeLastFromUtf16(before, out Rune rune, out int length);
            if (!IsIgnorable(rune))
            {
                casedBefore = IsCased(rune);
                break;
            }
            before = before[..^length];
        }
        if (!casedBefore)
        {
            return false;
        }
        foreach (Rune rune in text[(at + 1)..].EnumerateRunes())
        {
            if (!IsIgnorable(rune))
            {
                return !IsCased(rune);
            }
        }
        return true;
    }

    private static bool IsIgnorable(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.Format
            or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol => true,
        // Periods, colons and apostrophes inside words.
        _ => rune.Value is '\'' or '.' or ':' or '·' or 0x387 or 0x55F or 0x5F4 or 0x2018 or 0x2019 or 0x2024 or 0x2027
            or 0xFE13 or 0xFE52 or 0xFE55 or 0xFF07 or 0xFF0E or 0xFF1A,
    };

    private static bool IsCased(Rune rune) => Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter => true,
        // Ordinals, Roman numerals, and letters in circles and squares.
        _ => rune.Value is 'ª' or 'º' or (>= 0x2160 and <= 0x217F) or (>= 0x24B6 and <= 0x24E9)
            or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189),
    };
}
