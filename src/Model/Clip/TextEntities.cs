// HTML's character references ("&eacute;", "&#233;"), decoded in the two ways of the reference tokenizer: as browsers
// do, tolerating a missing semicolon, and strictly, for text that might not be HTML.
using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>The 2,125 named references of HTML 5, and numeric references.</summary>
internal static class TextEntities
{
    /// <summary>Maximum length of a name, or of the digits after '#', that <see cref="TryDecode"/> considers.</summary>
    public const int StrictNameMax = 24;

    private const int NameMax = 31;
    private const int LegacyNameMin = 2, LegacyNameMax = 6;

    /// <summary>
    /// The characters of bytes 80 to 9F in Windows-1252; the five bytes without a character map to themselves.
    /// </summary>
    public const string Windows1252 =
        "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008DŽ\u008F\u0090‘’“”•–—˜™š›œ\u009DžŸ";

    private static readonly FrozenDictionary<string, string> Named = ReadNames(out Legacy);

    // The names that HTML also accepts without a semicolon, even as the start of a longer word.
    private static readonly FrozenSet<string> Legacy;

    private static readonly FrozenDictionary<string, string> UpperCaseNames = MakeUpperCaseNames();

    /// <summary>Decodes every reference as section 13.2.5 of the HTML standard requires, once, left to right.</summary>
    public static string Unescape(string text)
    {
        int at = text.IndexOf('&', StringComparison.Ordinal);
        if (at < 0)
        {
            return text;
        }
        var output = new StringBuilder(text.Length);
        int done = 0;
        while (at >= 0)
        {
            output.Append(text, done, at - done);
            output.Append(Read(text.AsSpan(at + 1), out int length));
            done = at + 1 + length;
            at = text.IndexOf('&', done);
        }
        return output.Append(text, done, text.Length - done).ToString();
    }

    /// <summary>
    /// Decodes the text between '&amp;' and ';' if it is exactly a number or a name. Names in capitals are accepted if
    /// they are unambiguous: NTILDE is Ñ.
    /// </summary>
    public static bool TryDecode(ReadOnlySpan<char> body, out string value)
    {
        if (body is not ['#', ..])
        {
            return Named.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(body, out value!)
                || UpperCaseNames.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(body, out value!);
        }
        value = ReadNumber(body, out int length);
        return length == body.Length && value != ";";
    }

    // Decodes the text after an '&': the characters it represents, and the number of characters consumed. A bare '&'
    // represents itself.
    private static string Read(ReadOnlySpan<char> rest, out int length)
    {
        if (rest is ['#', ..])
        {
            string character = ReadNumber(rest, out length);
            length += length > 0 && length < rest.Length && rest[length] == ';' ? 1 : 0;
            return length > 0 ? character : "&";
        }
        int letters = 0;
        while (letters < Math.Min(rest.Length, NameMax) && char.IsAsciiLetterOrDigit(rest[letters]))
        {
            letters++;
        }
        var named = Named.GetAlternateLookup<ReadOnlySpan<char>>();
        if (letters < rest.Length && rest[letters] == ';' && named.TryGetValue(rest[..letters], out string? value))
        {
            length = letters + 1;
            return value;
        }
        length = LegacyPrefix(rest[..letters]);
        return length > 0 ? named[rest[..length]] : "&";
    }

    // The length of the longest legacy name that a word begins with, or 0.
    private static int LegacyPrefix(ReadOnlySpan<char> word)
    {
        var legacy = Legacy.GetAlternateLookup<ReadOnlySpan<char>>();
        for (int length = Math.Min(word.Length, LegacyNameMax); length >= LegacyNameMin; length--)
        {
            if (legacy.Contains(word[..length]))
            {
                return length;
            }
        }
        return 0;
    }

    // Reads "#" and decimal digits, or "#x" and hexadecimal digits. The length is 0 if there is no digit.
    private static string ReadNumber(ReadOnlySpan<char> rest, out int length)
    {
        bool hexadecimal = rest is [_, 'x' or 'X', ..];
        int start = hexadecimal ? 2 : 1;
        uint number = 0;
        for (length = start; length < rest.Length; length++)
        {
            char c = rest[length];
            if (!(hexadecimal ? char.IsAsciiHexDigit(c) : char.IsAsciiDigit(c)))
            {
                break;
            }
            // A number beyond Unicode's range stays at 0x110000, however many digits follow.
            number = Math.Min(number * (hexadecimal ? 16u : 10u) + (uint)Convert.ToInt32(c.ToString(), 16), 0x110000);
        }
        length = length == start ? 0 : length;
        return Character(number);
    }

    private static string Character(uint number) => number switch
    {
        0 or > 0x10FFFF or (>= 0xD800 and <= 0xDFFF) => "\uFFFD",
        '\t' or '\n' or '\f' or '\r' => ((char)number).ToString(),
        < ' ' or 0x7F or (>= 0xFDD0 and <= 0xFDEF) => "",
        >= 0x80 and <= 0x9F => Windows1252[(int)number - 0x80].ToString(),
        _ => (number & 0xFFFE) == 0xFFFE ? "" : char.ConvertFromUtf32((int)number),
    };

    private static FrozenDictionary<string, string> ReadNames(out FrozenSet<string> legacyNames)
    {
        var names = new Dictionary<string, string>();
        var legacy = new HashSet<string>();
        string[] words = TextTables.Words(TextTables.Entities);
        for (int i = 0; i < words.Length; i += 2)
        {
            string name = words[i].TrimEnd('.');
            names.Add(name, string.Concat(words[i + 1].Split('+').Select(digits =>
                char.ConvertFromUtf32(int.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture)))));
            if (words[i].EndsWith('.'))
            {
                legacy.Add(name);
            }
        }
        legacyNames = legacy.ToFrozenSet();
        return names.ToFrozenDictionary();
    }

    // The lower-case names converted to capitals, unless the result is itself a name or begins with a name that needs
    // no semicolon.
    private static FrozenDictionary<string, string> MakeUpperCaseNames() => Named
        .Where(entity => !entity.Key.Any(char.IsAsciiLetterUpper))
        .Select(entity => (Name: entity.Key.ToUpperInvariant(), Value: ToUpper(entity.Value)))
        .Where(entity => !Named.ContainsKey(entity.Name) && LegacyPrefix(entity.Name) == 0)
        .ToFrozenDictionary(entity => entity.Name, entity => entity.Value);

    // .NET's invariant upper-case mapping yields single characters and leaves the dotless i unchanged; these are
    // Unicode's full mappings.
    private static string ToUpper(string value) => value switch
    {
        "ß" => "SS",
        "ı" => "I",
        "ŉ" => "ʼN",
        "ﬀ" => "FF",
        "ﬁ" => "FI",
        "ﬂ" => "FL",
        "ﬃ" => "FFI",
        "ﬄ" => "FFL",
        _ => value.ToUpperInvariant(),
    };
}
