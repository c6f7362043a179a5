// Goal: text that was decoded wrongly, once or several times, is restored; unusual but correct text is left alone.
// Method: tables whose expected texts come from the reference's cleaning, and words of many languages decoded wrongly
// here.
using System.Text;
using Atelier.Model.Clip;
using CsCheck;
using Xunit;

namespace Atelier.Model.Tests.Clip;

public sealed class MojibakeTests
{
    private static readonly string[] s_phrases =
    [
        "schön", "Grüße aus Österreich", "São Paulo", "um pão e um avião", "el niño pequeño", "¿Qué pasa?", "déjà vu",
        "Noël", "garçon", "crème brûlée", "smörgåsbord", "žluťoučký kůň", "日本語の猫", "北京烤鸭", "한국어 고양이", "привет мир",
        "🐱 cat", "I ❤️ you", "it’s", "“quoted”", "wait…", "don’t — stop", "naïve", "20°C", "£10 bag", "½ cup", "café®",
    ];

    [Theory]
    [InlineData("schÃ¶n", "schön")]
    [InlineData("SCHÃ–N", "schön")]
    [InlineData("a photo of a cafÃ© in SÃ£o Paulo", "a photo of a café in são paulo")]
    [InlineData("itâ€™s a dogâ€™s life", "it's a dog's life")]
    [InlineData("â€œquotedâ€\u009D", "\"quoted\"")]
    [InlineData("waitâ€¦ â€” stop", "wait… — stop")]
    [InlineData("â\u0080\u0099tis", "'tis")]
    [InlineData("Ã\u00A0 la carte", "à la carte")]
    [InlineData("voilÃ  le travail", "voilà le travail")]
    [InlineData("dÃ©jÃ\u00A0 vu", "déjà vu")]
    [InlineData("20Â°C", "20°c")]
    [InlineData("Â£10 Â© 2020", "£10 © 2020")]
    [InlineData("jalapeÃ±os 5â‚¬", "jalapeños 5€")]
    [InlineData("æ—¥æœ¬èªž", "日本語")]
    [InlineData("ðŸ±", "\U0001F431", "ð\u009F\u0090±")]
    [InlineData("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет")]
    [InlineData("schÃƒÂ¶n", "schön")]
    [InlineData("schÃ\u0083Â¶n", "schön")]
    [InlineData("itÃ¢â‚¬â„¢s", "it's")]
    [InlineData("itÃ¢Â\u0080Â\u0099s", "it's")]
    [InlineData("schÃƒÆ’Ã‚Â¶n", "schön")]
    [InlineData("a cafÃ© in 東京", "a café in 東京")]
    [InlineData("the catâ€™s 猫 “toy”", "the cat's 猫 \"toy\"")]
    [InlineData("l’Ã©tÃ©", "l'été")]
    [InlineData("sch&Atilde;&para;n", "schön")]
    [InlineData("<b> schÃ¶n", "<b> schön")]
    [InlineData("&amp;Atilde;&amp;para;", "ö")]
    [InlineData("schÃ¶n\nÃ alone", "schön à alone")]
    [InlineData("â€œ like this â€\uFFFD", "\" like this \uFFFD")]
    public void WronglyDecodedText_IsRestored(string prompt, string expected, string? instead = null) =>
        Assert.Equal(expected, TextCleaning.Clean(instead ?? prompt));

    [Theory]
    [InlineData("São")]
    [InlineData("Ã")]
    [InlineData("Â")]
    [InlineData("NÃO")]
    [InlineData("CORAÇÃO DE MÃE")]
    [InlineData("Å i åa ä e ö")]
    [InlineData("l'été à Paris, où est-ce ?")]
    [InlineData("un œuf et un cœur")]
    [InlineData("Grüße, Straße, ÄÖÜ äöü ß")]
    [InlineData("coração de mãe, avião, pão")]
    [InlineData("¡Hola, señor! ¿Qué pasa?")]
    [InlineData("Ærø, Åse, smørrebrød, MØLLER")]
    [InlineData("Þór, ðe")]
    [InlineData("Dvořák, Łódź, Đà Nẵng, phở bò")]
    [InlineData("日本語の猫 北京烤鸭 한국어")]
    [InlineData("привет мир Ελλάδα العربية עברית हिन्दी")]
    [InlineData("🐱 ☕ 👨‍👩‍👧 I ❤️ you")]
    [InlineData("Nestlé® Citroën™ © 2020")]
    [InlineData("20°C, 5µm, πr², x²+y², 10×20, ½ cup, ±5")]
    [InlineData("£10, €5, ¥100, 50¢")]
    [InlineData("«oui», «non»")]
    [InlineData("not such a fan of Charlotte Brontë…”")]
    [InlineData("AHÅ™, the new sofa")]
    [InlineData("This text is fine already :þ")]
    [InlineData("(°ー°)")]
    [InlineData("caf\u00E9\u00A0!")]
    public void CorrectText_IsUnchanged(string prompt) => Assert.Equal(prompt, Mojibake.Repair(prompt));

    // Suspicious, but not UTF-8: the remains of garbled text are not made worse.
    [Theory]
    [InlineData("â€")]
    [InlineData("ÃÂ")]
    public void TextThatWouldNotBeUtf8_Stays(string prompt) => Assert.Equal(prompt, Mojibake.Repair(prompt));

    [Fact]
    public void EveryPhrase_DecodedWronglyOnceOrTwice_IsItselfAgain()
    {
        foreach (string phrase in s_phrases)
        {
            foreach (Func<byte[], string> first in s_readings)
            {
                string once = first(Encoding.UTF8.GetBytes(phrase));
                AssertSame(phrase, once);
                Assert.All(s_readings, second => AssertSame(phrase, second(Encoding.UTF8.GetBytes(once))));

                // By itself, a capital before a currency sign (å, ť) is nothing unusual.
                if (phrase.AsSpan().IndexOfAny('å', 'ť') < 0)
                {
                    AssertSame($"a photo of {phrase} in 東京", $"a photo of {once} in 東京");
                }
            }
        }

        static void AssertSame(string expected, string wrong) =>
            Assert.Equal(TextCleaning.Repair(expected), TextCleaning.Repair(wrong));
    }

    [Fact]
    public void Repair_HasNothingLeftToDo_WhenRepeated() =>
        TextCleaningTests.Pieces(
            "Ã", "Â", "â", "€", "™", "\u009D", "©", "¶", "°", " ", "\u00A0", "à", "é", "ð", "\u009F", "\u0090", "±",
            "Œ", "œ", "x", "Ø", "×", "²", "“", "’", "&", "Atilde;", "amp;", "\n", "<", "漢", "\uFFFD", "\u001B[", "1m",
            "Þ", "e\u0301")
            .Sample(text =>
            {
                string once = TextCleaning.Repair(text);
                return TextCleaning.Repair(once) == once;
            });

    [Fact]
    public void LongGarbledTexts_AreRepaired_LikeThoseOfAnyLength()
    {
        const int count = 200_000;
        Assert.Equal(new string('é', count), TextCleaning.Repair(string.Concat(Enumerable.Repeat("Ã©", count))));
        Assert.Equal(
            string.Concat(Enumerable.Repeat("à ", count)),
            TextCleaning.Repair(string.Concat(Enumerable.Repeat("Ã ", count))));
        string nested = "é";
        for (int i = 0; i < 12; i++)
        {
            nested = Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(nested));
        }

        Assert.Equal("é", TextCleaning.Repair(nested));
    }

    // Latin-1, and Windows-1252 with its undefined bytes unchanged.
    private static readonly Func<byte[], string>[] s_readings =
    [
        Encoding.Latin1.GetString,
        bytes => string.Concat(
            bytes.Select(b => b is >= 0x80 and < 0xA0 ? TextEntities.Windows1252[b - 0x80] : (char)b)),
    ];
}
