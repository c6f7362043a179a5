using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Atelier.Model.Clip;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Clip;

// The cleaning by itself: what must change, what must not, and the tables as a whole against digests made by CPython
// (Vectors/make.py). Expected texts in the theories were computed by the reference, too.
public sealed class TextCleaningTests
{
    [Theory]
    [InlineData("  Two\t\nWORDS \u3000", "two words")]
    [InlineData("“It’s”", "\"it's\"")]
    [InlineData("ﬁne ﬂow ＦＵＬＬ ｶﾞ", "fine flow full ガ")]
    [InlineData("cafe\u0301", "café")]
    [InlineData("\u001B[1;31mred\u001B[0m \u001B[x", "red ")]
    [InlineData("\u001B[1&#109;x \u001B[1&amp;#109;x", "x [1mx")]
    [InlineData("\u0082low\u0084 \u0085", "'low\" …")]
    [InlineData("soft\u00ADhyphen\uFEFFbom", "soft\u00ADhyphenbom")]
    [InlineData("İI ΣΑΣ ΑΣ' ΑΣ'Α ΑΣ\u0301.", "i\u0307i σας ας' ασ'α ας\u0301.")]
    public void Clean_Repairs(string prompt, string expected) =>
        Assert.Equal(expected.Trim(), TextCleaning.Clean(prompt));

    [Theory]
    [InlineData("&amp;amp;amp;lt;", "<")]
    [InlineData("&eacute; &EACUTE; &eacute &EACUTE", "é é é &eacute")]
    [InlineData("&SZLIG; &IMATH; &FFLIG; &frac12;", "ss i ff ½")]
    [InlineData("this&not that &notit; &nosuch; & &; &#;", "this¬ that ¬it; &nosuch; & &; &#;")]
    [InlineData("&#x1F600;&#233&#X41;&#128;", "😀éa€")]
    [InlineData("&#0;&#xD800;&#x110000;&#99999999999999999999;", "\uFFFD\uFFFD\uFFFD\uFFFD")]
    [InlineData("a&#1;b&#xFFFF;c&#59;", "abc;")]
    [InlineData("&am&#112;amp; &lt&semi; &#3&#5&#55;;;", "& < '")]
    [InlineData("&l&#116; &am\0p; \uFF06amp\uFF1B", "< & &")]
    public void Clean_DecodesReferences(string prompt, string expected) =>
        Assert.Equal(expected, TextCleaning.Clean(prompt));

    [Fact]
    public void Clean_TrustsReferencesLess_FromTheFirstLineWithMarkup()
    {
        // Before markup, references are decoded until none is left; after it, twice.
        Assert.Equal("< &lt; <", TextCleaning.Clean("&amp;amp;amp;lt;\n&amp;amp;lt; <"));
        Assert.Equal("&lt; <b>", TextCleaning.Clean("&amp;amp;lt; <b>"));
    }

    [Fact]
    public void Clean_ReplacesLoneSurrogates()
    {
        Assert.Equal("a\uFFFDb 😀 \uFFFD\uFFFD", TextCleaning.Clean("a\uD83Db \uD83D\uDE00 \uDE00\uD83D"));
        Assert.Equal("\uFFFD", TextCleaning.Clean("\uD83D"));
    }

    [Fact]
    public void Repair_HasNothingLeftToDo_WhenRepeated() =>
        Gen.OneOf(
            Gen.String[0, 60],
            Pieces(
                "&", "#", "x3", "7", "amp", "lt", ";", "semi", "<", "\u001B[", "1", "m", "e", "\u0301", "\u037E",
                "\uFF1B",
                "ﬂ", "at", "\0", "\n", "&#x37e", "&amp;", "\u0323", "각", "\u1100", "\u1161", "’", "\u0092"))
            .Sample(text =>
            {
                string once = TextCleaning.Repair(text);
                return TextCleaning.Repair(once) == once;
            });

    [Theory]
    [InlineData("&amp;", "amp;")]
    [InlineData("&#38;", "#38;")]
    [InlineData("&#xFF06;", "#xFF06;")]
    public void Clean_PeelsALongChainOfReferences(string start, string link)
    {
        string chain = start + string.Concat(Enumerable.Repeat(link, 900_000 / link.Length));
        Assert.Equal("&", TextCleaning.Clean(chain));
    }

    [Fact]
    public void Clean_PeelsReferencesNestedDeeply()
    {
        const int depth = 180_000;
        string nested = string.Concat(Enumerable.Repeat("&#x3", depth)) + "7" + new string(';', depth);
        Assert.Equal("7", TextCleaning.Clean(nested)); // &#x37; is the 7 of the reference around it
    }

    [Fact]
    public void Compose_IsUnicodesFormC_ForEveryCharacter()
    {
        JsonElement digests = TokenizerVectors.Read("tables.json");
        IEnumerable<string> characters =
            Enumerable.Range(0, 0x110000).Where(c => c is < 0xD800 or > 0xDFFF).Select(char.ConvertFromUtf32);
        Assert.Equal(digests.GetProperty("nfc").GetString(), Digest(characters.Select(TextNormalization.Compose)));
        Assert.Equal(
            digests.GetProperty("nfc_between_marks").GetString(),
            Digest(characters.Select(c => TextNormalization.Compose($"e{c}\u0323\u0301"))));
    }

    [Fact]
    public void Unescape_KnowsEveryNameOfHtml()
    {
        string[] words = TextTables.Words(TextTables.Entities);
        string[] names = [.. words.Where((_, i) => i % 2 == 0).Select(name => name.TrimEnd('.') + ";")];
        Assert.Equal(2125, names.Length);
        Assert.Equal(
            TokenizerVectors.Read("tables.json").GetProperty("html").GetString(),
            Digest(names.Order(StringComparer.Ordinal).Select(n => $"{n}={TextEntities.Unescape("&" + n)}")));
    }

    internal static Gen<string> Pieces(params string[] pieces) =>
        Gen.Int[0, pieces.Length - 1].Select(i => pieces[i]).Array[0, 40].Select(string.Concat);

    private static string Digest(IEnumerable<string> lines)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string line in lines)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(line + "\n"));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
