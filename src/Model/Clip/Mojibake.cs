// The repair of text whose UTF-8 bytes were decoded as Latin-1 or Windows-1252, so that "schön" became "schÃ¶n". As in
// ftfy 6.3.1, such text is detected by sequences of characters that people do not write but that wrong decoding often
// produces. The bytes must also be well-formed UTF-8; otherwise the text is left unchanged. Text decoded as another
// encoding (Windows-1251, MacRoman and the like) is not repaired.
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Atelier.Model.Clip;

/// <summary>Undoes wrong decodings, including repeated ones. Pure functions.</summary>
internal static class Mojibake
{
    // Represents a lost byte: the character that it was part of becomes U+FFFD.
    private const byte Lost = 0x1A;

    // The role of a character in written text.
    [Flags]
    private enum Kind
    {
        None = 0,
        Control = 1 << 0,
        Odd = 1 << 1,
        Common = 1 << 2,
        Law = 1 << 3,
        Money = 1 << 4,
        Number = 1 << 5,
        Opening = 1 << 6,
        Closing = 1 << 7,
        Upper = 1 << 8,
        Lower = 1 << 9,
        Accented = Upper | Lower,
        Quoting = Opening | Closing,
        Any = Law | Money | Number | Quoting | Accented,
    }

    private static readonly (string Members, Kind Kind)[] s_members =
    [
        ("¦¤¨¬¯¸ƒˆ˜†‡‰ªº\uFFFD", Kind.Odd),
        ("\u00A0\u00AD·´–—…’", Kind.Common),
        ("¶§", Kind.Law),
        ("¢£¥€", Kind.Money),
        ("²³¹±¼½¾×µ÷", Kind.Number),
        ("¡«¿©‘‚“„•‹", Kind.Opening),
        ("®»”›™", Kind.Closing),
        ("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑØÜÝŒŠŽŸ", Kind.Upper),
        ("ßàáâãäåæçèéêëìíîïðñüœšž", Kind.Lower),
    ];

    // Tables indexed by character. All characters of Windows-1252 are below U+2123, and U+FFFD, which marks a lost
    // byte, is handled separately.
    private static readonly Kind[] s_kinds = ReadKinds();
    private static readonly short[] s_bytes = ReadBytes();

    // Suspicious pairs of characters.
    private static readonly (Kind First, Kind Second)[] s_pairs =
    [
        (Kind.Any | Kind.Odd, Kind.Odd),
        (Kind.Odd, Kind.Any),
        (Kind.Lower | Kind.Closing | Kind.Money | Kind.Number, Kind.Upper),
        (Kind.Closing | Kind.Money | Kind.Number, Kind.Lower),
        (Kind.Lower | Kind.Closing, Kind.Money),
        (Kind.Upper, Kind.Number | Kind.Law),
        (Kind.Money | Kind.Number, Kind.Opening),
    ];

    // Suspicious triples of characters.
    private static readonly (Kind First, Kind Second, Kind Third)[] s_triples =
    [
        (Kind.Accented | Kind.Money | Kind.Closing, Kind.Opening, Kind.Number),
        (Kind.Accented | Kind.Money | Kind.Number | Kind.Law, Kind.Closing, Kind.Opening),
    ];

    /// <summary>Repairs a text; returns it unchanged if nothing indicates a wrong decoding.</summary>
    /// <param name="text">The text. Its lines are examined separately.</param>
    public static string Repair(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\u0080', '\uFFFD'))
        {
            return text;
        }

        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            // The line break is included, because the rules also look at the character after the line's last one.
            string line = i + 1 < lines.Length ? lines[i] + '\n' : lines[i];
            lines[i] = RepairLine(line);
        }

        return string.Concat(lines);
    }

    // Terminates: every iteration shortens the line or removes control characters from it.
    private static string RepairLine(string line)
    {
        while (IsSuspicious(line))
        {
            string before = line;
            line = TryDecode(line) ?? DecodePieces(line);
            line = line == before ? WithoutControls(line) : line;
            if (line == before)
            {
                break;
            }
        }

        return line;
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Sequences that people do not write.

    private static bool IsSuspicious(string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            char a = text[i];
            Kind first = KindOf(a);
            char b = i + 1 < text.Length ? text[i + 1] : '\0', c = i + 2 < text.Length ? text[i + 2] : '\0';
            (Kind second, Kind third) = (KindOf(b), KindOf(c));
            if (first == Kind.Control
                || Array.Exists(s_pairs, pair => Has(pair.First, first) && Has(pair.Second, second))
                || Array.Exists(
                    s_triples, three => Has(three.First, first) && Has(three.Second, second) && Has(three.Third, third))
                || (Has(Kind.Accented, first) && Has(Kind.Quoting, second) && IsWord(c))
                || IsLetterByLetter(text, i, a, b, c))
            {
                return true;
            }
        }

        return false;
    }

    // The rules that depend on particular characters and not on their roles.
    private static bool IsLetterByLetter(string text, int at, char a, char b, char c)
    {
        (Kind second, Kind third) = (KindOf(b), KindOf(c));
        bool isLowerAscii = char.IsAsciiLetterLower(a), isLast = at + 1 == text.Length;
        return a switch
        {
            'Œ' or 'œ' when !isLast && !char.IsAsciiLetter(b) => true,
            'Â' or 'Ã' when at == 0 && b == ' ' => true,
            'Â' or 'Ã' or 'Î' or 'Ð' when Has(Kind.Quoting, second)
                || "€œŠš¢£Ÿž\u00A0\u00AD®©°·»–—´".Contains(b, StringComparison.Ordinal) => true,
            'à' when "²µ¹¼½¾".Contains(b, StringComparison.Ordinal) => true,
            '×' when b is '²' or '³' => true,
            'Ø' or 'Ù' when IsArabic(b) && c is 'Ø' or 'Ù' && at + 3 < text.Length && IsArabic(text[at + 3]) => true,
            _ when Has(Kind.Upper, KindOf(a)) && b == '°' => true,
            _ when char.IsWhiteSpace(a) && Has(Kind.Upper, second) && Has(Kind.Money, third) => true,
            _ when isLowerAscii && Has(Kind.Upper, second) && Has(Kind.Opening | Kind.Money, third) => true,
            _ when isLowerAscii && IsLead(b) && c == ' ' => true,
            _ when isLowerAscii && char.IsWhiteSpace(b) && IsLead(c)
                && at + 3 < text.Length && text[at + 3] == ' ' => true,
            _ when (isLowerAscii || ".,?!".Contains(a, StringComparison.Ordinal) || Has(Kind.Closing, KindOf(a)))
                && b == 'Â' && (c == ' ' || Has(Kind.Quoting, third)) => true,
            _ => char.IsAsciiLetter(a) && b == 'Þ' && Has(Kind.Odd, third),
        };

        static bool IsLead(char letter) => letter is 'Â' or 'Ã';

        static bool IsArabic(char letter) =>
            Has(Kind.Common | Kind.Money | Kind.Odd | Kind.Number | Kind.Opening, KindOf(letter))
            || letter is 'Ÿ' or 'Š' or '®' or '°' or 'µ' or '»';
    }

    private static bool Has(Kind wanted, Kind kind) => (wanted & kind) != Kind.None;

    private static bool IsWord(char c) => c != '\0' && (c == '_' || char.IsLetterOrDigit(c)
        || CharUnicodeInfo.GetUnicodeCategory(c) is UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber);

    // -----------------------------------------------------------------------------------------------------------------
    // The bytes, and their decoding as UTF-8.

    // Decodes the whole text again. Null if the text mixes encodings or its bytes are not UTF-8.
    private static string? TryDecode(string text)
    {
        var bytes = new List<byte>(text.Length);
        (bool isLatin, bool isWindows) = (true, true); // A text that mixes the two was not decoded in one step.
        foreach (char c in text)
        {
            if (ByteOf(c) is not { } value)
            {
                return null;
            }

            isLatin &= c <= '\u00FF';
            isWindows &= c is < '\u0080' or > '\u009F' || TextEntities.Windows1252[c - 0x80] == c;
            bytes.Add(value);
        }

        if (!isLatin && !isWindows)
        {
            return null;
        }

        return DecodeUtf8(CollectionsMarshal.AsSpan(RestoreSpaces(CollectionsMarshal.AsSpan(bytes))));
    }

    // If a text is partly correct, the runs that are valid UTF-8 and suspicious on their own are decoded again.
    private static string DecodePieces(string text)
    {
        var output = new StringBuilder(text.Length);
        int done = 0;
        for (int at = 0; at < text.Length;)
        {
            int end = at > 0 && IsInside(text[at - 1]) ? at : EndOfSequences(text, at);
            if (end == at)
            {
                at++;
                continue;
            }

            if (end - at < text.Length)
            {
                output.Append(text, done, at - done).Append(RepairLine(text[at..end]));
                done = end;
            }

            at = end;
        }

        return output.Append(text, done, text.Length - done).ToString();
    }

    // A run does not begin in the middle of a garbled sequence, but punctuation may precede the run.
    private static bool IsInside(char c) =>
        ByteOf(c) is >= 0x80 and < 0xC0 && !"‚„…‘’“”•–—".Contains(c, StringComparison.Ordinal);

    private static int EndOfSequences(string text, int at)
    {
        while (at < text.Length && LengthAfter(ByteOf(text[at]) ?? 0) is > 0 and int more && at + more < text.Length)
        {
            for (int i = 1; i <= more; i++)
            {
                if (text[at + i] != ' ' && ByteOf(text[at + i]) is not (>= 0x80 and < 0xC0))
                {
                    return at;
                }
            }

            at += 1 + more;
        }

        return at;
    }

    private static int LengthAfter(byte first) => first switch
    {
        >= 0xC2 and <= 0xDF => 1,
        >= 0xE0 and <= 0xEF => 2,
        >= 0xF0 and <= 0xF4 => 3,
        _ => 0,
    };

    // Byte A0 is a no-break space, which some programs replace with a plain space. Byte A0 is restored where that gives
    // a likely character: after the first bytes of à, Š, Π, Р and the like, and inside longer sequences.
    private static List<byte> RestoreSpaces(ReadOnlySpan<byte> bytes)
    {
        var output = new List<byte>(bytes.Length + 8);
        while (!bytes.IsEmpty)
        {
            int more = Math.Min(LengthAfter(bytes[0]), bytes.Length - 1);
            bool isShort = more == 1 && bytes[1] == ' ' && bytes[0] is 0xC2 or 0xC3 or 0xC5 or 0xCE or 0xD0 or 0xD9;
            int taken = isShort || (more > 1 && IsLikely(bytes[..(more + 1)])) ? more + 1 : 1;
            foreach (byte value in bytes[..taken])
            {
                output.Add(value == ' ' && taken > 1 ? (byte)0xA0 : value);
            }

            // "à" is a word of its own: the space after it stays, unless the following characters continue the word.
            if (isShort && bytes[0] == 0xC3 && !Continues(bytes[2..]))
            {
                output.Add((byte)' ');
            }

            bytes = bytes[taken..];
        }

        return output;

        static bool Continues(ReadOnlySpan<byte> rest) =>
            rest.StartsWith(" "u8) || rest.StartsWith("s "u8) || rest.StartsWith("quele"u8)
                || rest.StartsWith("quela"u8) || rest.StartsWith("quilo"u8);

        static bool IsLikely(ReadOnlySpan<byte> sequence)
        {
            bool isFour = sequence.Length == 4;
            int spaces = sequence.Count((byte)' ');
            return spaces == 1 && Others(sequence[1..], isFour)
                && (isFour ? sequence[0] == 0xF0 : sequence[0] < 0xE4 && (sequence[1] != ' ' || sequence[0] >= 0xE2));
        }

        // Whether all bytes but spaces are continuation bytes. Bytes 85 and A0 are allowed only in sequences of four
        // bytes.
        static bool Others(ReadOnlySpan<byte> tail, bool isFour)
        {
            foreach (byte value in tail)
            {
                if (value != ' ' && (value is < 0x80 or >= 0xC0 || (!isFour && value is 0x85 or 0xA0)))
                {
                    return false;
                }
            }

            return true;
        }
    }

    // Returns null if the bytes are not well-formed UTF-8.
    private static string? DecodeUtf8(ReadOnlySpan<byte> bytes)
    {
        var output = new StringBuilder(bytes.Length);
        while (!bytes.IsEmpty)
        {
            if (bytes[0] == Lost)
            {
                output.Append('\uFFFD');
                bytes = bytes[1..];
                continue;
            }

            int length = 1 + LengthAfter(bytes[0]);
            if (length > 1 && length <= bytes.Length && bytes[1..length].Contains(Lost)
                && !bytes[1..length].ContainsAnyExcept(s_continuing))
            {
                output.Append('\uFFFD');
                bytes = bytes[length..];
                continue;
            }

            if (Rune.DecodeFromUtf8(bytes, out Rune rune, out int used) != System.Buffers.OperationStatus.Done)
            {
                return null;
            }

            output.Append(rune.ToString());
            bytes = bytes[used..];
        }

        return output.ToString();
    }

    private static readonly System.Buffers.SearchValues<byte> s_continuing = System.Buffers.SearchValues.Create(
        [Lost, .. Enumerable.Range(0x80, 0x40).Select(value => (byte)value)]);

    // The control characters U+0080 to U+009F were meant as Windows-1252.
    private static string WithoutControls(string text) => string.Concat(
        text.Select(c => c is >= '\u0080' and <= '\u009F' ? TextEntities.Windows1252[c - 0x80] : c));

    private static Kind KindOf(char c) => c < s_kinds.Length ? s_kinds[c] : c == '\uFFFD' ? Kind.Odd : Kind.None;

    private static byte? ByteOf(char c) =>
        c < s_bytes.Length ? s_bytes[c] >= 0 ? (byte)s_bytes[c] : null : c == '\uFFFD' ? Lost : null;

    private static Kind[] ReadKinds()
    {
        var kinds = new Kind['™' + 1];
        Array.Fill(kinds, Kind.Control, 0x80, 0x20);
        foreach ((string members, Kind kind) in s_members)
        {
            foreach (char member in members.Where(member => member < kinds.Length))
            {
                kinds[member] = kind;
            }
        }

        return kinds;
    }

    private static short[] ReadBytes()
    {
        var bytes = new short['™' + 1];
        Array.Fill(bytes, (short)-1);
        for (short value = 0; value < 0x100; value++)
        {
            bytes[value] = value;
        }

        for (short value = 0x80; value < 0xA0; value++)
        {
            bytes[TextEntities.Windows1252[value - 0x80]] = value;
        }

        return bytes;
    }
}
