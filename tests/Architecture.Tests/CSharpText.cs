// Splits a C# file into code, which the compiler reads, and prose, which people read.
using System.Text;
using System.Text.RegularExpressions;

namespace Atelier.Architecture.Tests;

/// <summary>
/// Comments and the contents of string literals are prose; the rest, including interpolation holes, is code.
/// </summary>
internal sealed partial class CSharpText
{
    private readonly StringBuilder _code = new();
    private readonly StringBuilder _prose = new();
    private readonly string _text;
    private int _at;

    private CSharpText(string text) => _text = text;

    public static (string Code, string Prose) Split(string text)
    {
        var parts = new CSharpText(text);
        parts.ReadCode(isHole: false);
        return (parts._code.ToString(), parts._prose.ToString());
    }

    public static IEnumerable<string> Identifiers(string code) =>
        Identifier().Matches(code).Select(match => match.Value.TrimStart('@'));

    [GeneratedRegex(@"@?[\p{L}_][\p{L}\p{N}_]*")]
    private static partial Regex Identifier();

    // Ends after the brace that closes a hole, or at the end of the text.
    private void ReadCode(bool isHole, int braces = 1)
    {
        int depth = 0;
        while (_at < _text.Length)
        {
            char c = _text[_at];
            if (Is("//"))
            {
                int end = _text.IndexOf('\n', _at) is var line and >= 0 ? line : _text.Length;
                // Consecutive comment lines are one text, so that phrases are found across line ends.
                _prose.Append(_text[_at..end].TrimStart('/')).Append(' ');
                _at = end;
            }
            else if (Is("/*"))
            {
                int end = _text.IndexOf("*/", _at, StringComparison.Ordinal) is var close and >= 0
                    ? close
                    : _text.Length;
                _prose.Append(_text[(_at + 2)..end]).Append('\n');
                _at = Math.Min(end + 2, _text.Length);
            }
            else if (c == '\'')
            {
                int end = _at + 1;
                while (end < _text.Length && _text[end] != '\'')
                {
                    end += _text[end] == '\\' ? 2 : 1;
                }

                _at = end + 1;
            }
            else if (c == '"' || (c is '$' or '@' && StringStart().Match(_text, _at) is { Success: true }))
            {
                Match start = StringStart().Match(_text, _at);
                _at += start.Length;
                ReadString(start.Groups["prefix"].Value, start.Groups["quotes"].Length);
                _prose.Append('\n');
            }
            else if (isHole && depth == 0 && c == '}' && Is(new string('}', braces)))
            {
                _at += braces;
                return;
            }
            else
            {
                depth += c switch { '{' or '(' or '[' => 1, '}' or ')' or ']' => -1, _ => 0 };
                _code.Append(c);
                _at++;
                if (c == '\n' && !BeginsComment())
                {
                    _prose.Append('\n');
                }
            }
        }
    }

    private void ReadString(string prefix, int quotes)
    {
        int dollars = prefix.Count(c => c == '$');
        bool isRaw = quotes >= 3, isVerbatim = prefix.Contains('@', StringComparison.Ordinal);
        if (quotes == 2)
        {
            return; // "" is empty and closed.
        }

        while (_at < _text.Length)
        {
            char c = _text[_at];
            if (isRaw ? Is(new string('"', quotes)) : c == '"' && !(isVerbatim && Is("\"\"")))
            {
                _at += isRaw ? quotes : 1;
                return;
            }

            if (dollars > 0 && !isRaw && (Is("{{") || Is("}}")))
            {
                _at += 2;
            }
            else if (dollars > 0 && c == '{' && Is(new string('{', dollars)))
            {
                _at += dollars;
                _prose.Append("{}");
                ReadCode(isHole: true, dollars);
            }
            else if (!isRaw && !isVerbatim && c == '\\')
            {
                _prose.Append(' ');
                _at += 2;
            }
            else
            {
                _prose.Append(c);
                _at += isVerbatim && c == '"' ? 2 : 1;
            }
        }
    }

    private bool BeginsComment()
    {
        int next = _at;
        while (next < _text.Length && _text[next] is ' ' or '\t')
        {
            next++;
        }

        return string.CompareOrdinal(_text, next, "//", 0, 2) == 0;
    }

    private bool Is(string what) => string.CompareOrdinal(_text, _at, what, 0, what.Length) == 0;

    [GeneratedRegex("""\G(?<prefix>[$@]*)(?<quotes>"{3,}|"(?:"(?!"))?)""")]
    private static partial Regex StringStart();
}
