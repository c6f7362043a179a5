// Unicode's canonical composition (NFC). The tokens of "café" must not depend on how the keyboard encoded the é, and
// string.Normalize does not help: the program runs without ICU, so that method returns its input unchanged.
using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>Unicode Standard Annex 15, form C, with the data of Unicode 14 (see <see cref="TextTables"/>).</summary>
internal static class TextNormalization
{
    // Below U+0300 every character is its own composed form and nothing combines.
    private const char FirstCombining = '\u0300';

    // Hangul syllables are computed, not listed (section 3.12 of the Unicode Standard).
    private const int SyllableBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TailBase = 0x11A7;
    private const int Leads = 19, Vowels = 21, Tails = 28;

    private static readonly FrozenDictionary<int, int> Classes = ReadClasses();
    private static readonly FrozenDictionary<int, int[]> Decompositions = ReadDecompositions(out Compositions);
    private static readonly FrozenDictionary<(int First, int Second), int> Compositions;

    /// <summary>Converts a text to form C, in the time that sorting its combining marks takes.</summary>
    /// <param name="text">Well-formed UTF-16.</param>
    public static string Compose(string text)
    {
        if (text.AsSpan().IndexOfAnyInRange(FirstCombining, char.MaxValue) < 0)
        {
            return text;
        }
        var parts = new List<(int CodePoint, int Class)>(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            Decompose(rune.Value, parts);
        }
        Order(parts);
        var output = new StringBuilder(text.Length);
        foreach (int codePoint in Recompose(parts))
        {
            output.Append(new Rune(codePoint).ToString());
        }
        return output.ToString();
    }

    private static void Decompose(int codePoint, List<(int CodePoint, int Class)> parts)
    {
        int syllable = codePoint - SyllableBase;
        if (syllable is >= 0 and < Leads * Vowels * Tails)
        {
            parts.Add((LeadBase + syllable / (Vowels * Tails), 0));
            parts.Add((VowelBase + syllable / Tails % Vowels, 0));
            if (syllable % Tails > 0)
            {
                parts.Add((TailBase + syllable % Tails, 0));
            }
        }
        else if (Decompositions.TryGetValue(codePoint, out int[]? pieces))
        {
            foreach (int piece in pieces)
            {
                Decompose(piece, parts);
            }
        }
        else
        {
            parts.Add((codePoint, Classes.GetValueOrDefault(codePoint)));
        }
    }

    // Marks between two starters (class 0) are sorted by their classes; marks of the same class keep their order.
    private static void Order(List<(int CodePoint, int Class)> parts)
    {
        for (int start = 0; start < parts.Count; start++)
        {
            int end = start;
            while (end < parts.Count && parts[end].Class > 0)
            {
                end++;
            }
            if (end - start > 1)
            {
                var sorted = parts.GetRange(start, end - start).OrderBy(part => part.Class).ToList(); // a stable sort
                for (int i = 0; i < sorted.Count; i++)
                {
                    parts[start + i] = sorted[i];
                }
            }
            start = end;
        }
    }

    private static List<int> Recompose(List<(int CodePoint, int Class)> parts)
    {
        var output = new List<int>(parts.Count);
        int starter = -1;
        int classBefore = 0; // Class of the last part that was kept after the starter.
        foreach ((int codePoint, int combining) in parts)
        {
            bool reachesStarter = starter >= 0 && (classBefore == 0 || classBefore < combining);
            if (reachesStarter && TryCompose(output[starter], codePoint, out int composed))
            {
                output[starter] = composed;
                continue;
            }
            if (combining == 0)
            {
                starter = output.Count;
            }
            classBefore = combining;
            output.Add(codePoint);
        }
        return output;
    }

    private static bool TryCompose(int first, int second, out int composed)
    {
        int lead = first - LeadBase, vowel = second - VowelBase, tail = second - TailBase;
        if (lead is >= 0 and < Leads && vowel is >= 0 and < Vowels)
        {
            composed = SyllableBase + (lead * Vowels + vowel) * Tails;
            return true;
        }
        int syllable = first - SyllableBase;
        if (syllable is >= 0 and < Leads * Vowels * Tails && syllable % Tails == 0 && tail is > 0 and < Tails)
        {
            composed = first + tail;
            return true;
        }
        return Compositions.TryGetValue((first, second), out composed);
    }

    private static FrozenDictionary<int, int[]> ReadDecompositions(
        out FrozenDictionary<(int First, int Second), int> compositions)
    {
        var decompositions = new Dictionary<int, int[]>();
        var composed = new Dictionary<(int, int), int>();
        int codePoint = 0;
        foreach (string entry in TextTables.Words(TextTables.Decompositions))
        {
            int colon = entry.IndexOf(':', StringComparison.Ordinal);
            codePoint = colon < 0 ? codePoint + 1 : Hex(entry[..colon]);
            int[] pieces = [.. entry[(colon + 1)..].Split('+', '-').Select(Hex)];
            decompositions.Add(codePoint, pieces);
            if (entry.Contains('+', StringComparison.Ordinal))
            {
                composed.Add((pieces[0], pieces[1]), codePoint);
            }
        }
        compositions = composed.ToFrozenDictionary();
        return decompositions.ToFrozenDictionary();
    }

    private static FrozenDictionary<int, int> ReadClasses()
    {
        var classes = new Dictionary<int, int>();
        int combining = 0;
        foreach (string entry in TextTables.Words(TextTables.CombiningClasses))
        {
            if (entry.EndsWith(':'))
            {
                combining = int.Parse(entry.AsSpan(..^1), CultureInfo.InvariantCulture);
                continue;
            }
            string[] ends = entry.Split('-');
            for (int codePoint = Hex(ends[0]); codePoint <= Hex(ends[^1]); codePoint++)
            {
                classes.Add(codePoint, combining);
            }
        }
        return classes.ToFrozenDictionary();
    }

    private static int Hex(string digits) => int.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
