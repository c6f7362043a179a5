"""Writes src/Model/Clip/TextTables.cs, and prompts.json and tables.json beside this file.

  python3 make.py OPEN_CLIP FTFY VOCABULARY

OPEN_CLIP and FTFY are checkouts of mlfoundations/open_clip at v2.24.0 (3ff1faf10b60be27252be7f6c84ce7c8c5e14ec8) and
rspeer/python-ftfy at 6.3.1 (74dd0452b48286a3770013b3a02755313bd5575e), VOCABULARY is bpe_simple_vocab_16e6.txt.gz.
Needs CPython 3.11 (Unicode 14) and the package regex, but not torch, numpy and wcwidth: empty modules replace them.
case.json was made elsewhere by the same two projects.
"""
import hashlib
import html.entities
import json
import pathlib
import random
import shutil
import sys
import tempfile
import types
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent
TABLES = HERE.parents[3] / "src/Model/Clip/TextTables.cs"
LIGATURES = {
    "Ĳ": "IJ", "ĳ": "ij", "ŉ": "'n", "Ǳ": "DZ", "ǲ": "Dz", "ǳ": "dz", "Ǆ": "DŽ", "ǅ": "Dž", "ǆ": "dž", "Ǉ": "LJ",
    "ǈ": "Lj", "ǉ": "lj", "Ǌ": "NJ", "ǋ": "Nj", "ǌ": "nj", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl",
    "ﬅ": "ſt", "ﬆ": "st"}


# ----------------------------------------------------------------------------------------------------------------------
# The tables.

def decompositions():
    words, last = [], None
    for code in range(0x110000):
        mapping = unicodedata.decomposition(chr(code))
        if not mapping or mapping[0] == "<":
            continue
        parts = [int(part, 16) for part in mapping.split()]
        composes = unicodedata.normalize("NFC", "".join(map(chr, parts))) == chr(code)
        text = ("+" if composes else "-").join(f"{part:X}" for part in parts)
        words.append(text if last == code - 1 else f"{code:X}:{text}")
        last = code
    return words


def combining_classes():
    ranges = {}
    for code in range(0x110000):
        combining = unicodedata.combining(chr(code))
        if combining:
            known = ranges.setdefault(combining, [])
            if known and known[-1][1] == code - 1:
                known[-1][1] = code
            else:
                known.append([code, code])
    return [word for combining in sorted(ranges) for word in [f"{combining}:"] + [
        f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in ranges[combining]]]


def entities():
    names = html.entities.html5
    return [word for name in sorted(names) if name.endswith(";") for word in [
        name[:-1] + ("." if name[:-1] in names else ""), "+".join(f"{ord(c):X}" for c in names[name])]]


def wrap(words, width=112):
    lines = [""]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def constant(summary, name, words):
    lines = "".join(f"        {line}\n" for line in wrap(words))
    head = f"    /// <summary>\n{summary}    /// </summary>\n"
    return f'{head}    public const string {name} = """\n{lines}        """;\n\n'


def literal(c):
    plain = c.isprintable() and not unicodedata.combining(c) and not "\u1100" <= c <= "\u11ff" and c < "\uff00"
    return c if plain else f"\\u{ord(c):04X}"


def widths():
    forms = [chr(c) if c == 0xFFE3 else unicodedata.normalize("NFKC", chr(c)) for c in range(0xFF5F, 0xFFEF)]
    lines = ["".join(map(literal, forms[i:i + 16])) for i in range(0, len(forms), 16)]
    return " +\n".join(f'        "{line}"' for line in lines)


def write_tables():
    TABLES.write_text(
        "// Data of Unicode 14 and HTML 5 in compact form, written by tests/Model.Tests/Clip/Vectors/make.py.\n"
        "namespace Atelier.Model.Clip;\n\n"
        "/// <summary>Tables as strings of words separated by white space.</summary>\n"
        "internal static class TextTables\n{\n"
        + constant(
            "    /// Canonical decompositions. \"C0:41+300\" is the decomposition of U+00C0, the first of a run of "
            "code points. The\n    /// decompositions of its successors follow without a number. '+' joins code points "
            "that compose again, '-'\n    /// joins those that do not.\n", "Decompositions", decompositions())
        + constant(
            "    /// Canonical combining classes other than 0: the code points of class 230 follow \"230:\".\n",
            "CombiningClasses", combining_classes())
        + constant(
            "    /// Latin ligatures and digraphs, each followed by the letters that replace it. Apostrophes are "
            "straight.\n",
            "Ligatures", [word for pair in LIGATURES.items() for word in pair])
        + "    /// <summary>The usual forms of U+FF5F to U+FFEE; a character without one maps to itself.</summary>\n"
        + f"    public const string Widths =\n{widths()};\n\n"
        + constant(
            "    /// HTML's names of characters, each followed by its code points. A final \".\" marks names that need "
            "no semicolon.\n", "Entities", entities())
        + "    /// <summary>The words of a table.</summary>\n    public static string[] Words(string table) =>\n"
        + "        table.Split([' ', '\\n'], StringSplitOptions.RemoveEmptyEntries);\n}\n", encoding="utf-8")


# Digests over whole tables: line by line, UTF-8, what Unicode or HTML says about each entry.
def write_digests():
    def digest(lines):
        return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()

    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    nfc = [unicodedata.normalize("NFC", chr(c)) for c in codes]
    between = [unicodedata.normalize("NFC", f"e{chr(c)}\u0323\u0301") for c in codes]
    names = sorted(name for name in html.entities.html5 if name.endswith(";"))
    (HERE / "tables.json").write_text(json.dumps({
        "nfc": digest(nfc), "nfc_between_marks": digest(between),
        "html": digest(f"{name}={html.entities.html5[name]}" for name in names)}, indent=1) + "\n")


# ----------------------------------------------------------------------------------------------------------------------
# The prompts: pieces of every kind that the cleaning or the splitting treats specially, in random order.

PIECES = [
    "a photo of", "the", "cat", "astronaut", "HELLO", "don't", "it's", "THEY'RE", "we've", "'tis", "zebra-crossing",
    "f/1.8", "42,000", "1999", "café", "Straße", "\u0130stanbul", "ΣΟΦΟΣ", "ΣΟΦΟΣ'", "\u017f", "'\u017f", "\u1e9e",
    "\u2018single\u2019", "\u201cdouble\u201d", "\u201elow\u201f", "o\u02bcclock", "\u00ab\u00bb", "\u2026", "\u2014",
    "\ufb01ne", "\ufb03", "\u0149", "\u01c4", "\u0133s", "\uff26\uff35\uff2c\uff11\u3000\uff06",
    "\uff8a\uff9f\uff97", "\uffa1\uffc2", "\uffe3", "e\u0301", "s\u0323\u0307", "a\u0345", "\u1112\u1161\u11ab",
    "\u0958",
    "\u2126", "\u212a",
    "\uf900", "\u037e", "\x1b[31mred\x1b[0m", "\x1b[1;\uff13m", "\x1b[1&#109;", "\x1b[1&amp;#109;", "\x07", "\x00",
    "\u200b", "\u200d", "\ufeff", "\u206a", "\ufffc", "\xad", "\x85", "\x92", "\x82", "\r\n", "\n", "\t", "\u2028",
    "\xa0", "\u2003", "&amp;", "&amp;amp;lt;", "&lt;b&gt;", "&eacute", "&EACUTE;", "&frac12;", "&notit;", "&nosuch;",
    "&CounterClockwiseContourIntegral;", "&#233;", "&#x1F600;", "&#X41", "&#128;", "&#0;", "&#xD800;", "&#1;", "&#59;",
    "&#999999999999;", "&am&#112;amp;", "&lt&semi;", "&#3&#5&#55;;;", "&ﬂat;", "\uff06amp;", "<", "<i>", "&", ";", "#",
    "!!!", "(((x)))", "?!'s", "`~", "$5", "a_b", "\u00bd", "\u2163", "\u0661\u0662", "10\u00b2", "\U0001d7d8",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "5\ufe0f\u20e3", "\U0001f44d\U0001f3fd",
    "日本語のテスト", "한국어", "Привет", "مرحبا", "שלום", "नमस्ते", "ไทย", "Ελληνικά", "\U00020000", "\U00010400",
    "<start_of_text>", "<END_OF_TEXT>", "<end_of_text>!", "\U0001d538", "ⒶⓏ", "x" * 90]


def write_prompts(open_clip, ftfy_checkout, vocabulary):
    sys.modules["torch"] = types.SimpleNamespace(LongTensor=list, Tensor=list)
    sys.modules["numpy"] = types.ModuleType("numpy")
    sys.modules["wcwidth"] = types.SimpleNamespace(wcwidth=len, wcswidth=len)
    with tempfile.TemporaryDirectory() as folder:  # the module wants its vocabulary beside it
        shutil.copy(f"{open_clip}/src/open_clip/tokenizer.py", f"{folder}/tokenizer.py")
        shutil.copy(vocabulary, f"{folder}/bpe_simple_vocab_16e6.txt.gz")
        sys.path[:0] = [folder, ftfy_checkout]
        import ftfy
        import tokenizer
    encode = tokenizer._tokenizer.encode
    draw, rows = random.Random(24), []
    prompts = [" ".join(PIECES[i:i + 4]) for i in range(0, len(PIECES), 4)]
    prompts += ["".join(piece + draw.choice(["", " "]) for piece in draw.choices(PIECES, k=draw.randint(1, 24)))
                for _ in range(80)]
    for prompt in prompts:
        ids = [49406] + encode(prompt) + [49407]
        fix = ftfy.fix_text
        ftfy.fix_text = lambda text: fix(text, fix_encoding=False)
        without_repair = [49406] + encode(prompt) + [49407]
        ftfy.fix_text = fix
        if ids == without_repair:
            rows.append({"text": prompt, "ids": ids if len(ids) <= 77 else ids[:76] + [49407]})
    text = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "prompts.json").write_text(f"[\n{text}\n]\n")
    print(len(rows), "of", len(prompts), "prompts")


write_tables()
write_digests()
write_prompts(*sys.argv[1:])
