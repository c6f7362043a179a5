// The part of a text that fits a text encoder's context; the rest is cut off, and the caller is informed.
namespace Atelier.Model.Clip;

/// <summary>Counts of a text's tokens, without the start and end marks.</summary>
/// <param name="Given">Tokens of the whole text.</param>
/// <param name="Used">Leading tokens that the text encoder uses.</param>
/// <param name="CutAt">
/// The start of the part that is cut off, which begins with the first word that does not fit completely. It is in lower
/// case, as the tokenizer reads it, and has at most <see cref="CutAtLengthMax"/> UTF-16 code units. Null if nothing is
/// cut off.
/// </param>
public sealed record TokenCount(int Given, int Used, string? CutAt)
{
    /// <summary>Maximum length of <see cref="CutAt"/> in UTF-16 code units.</summary>
    public const int CutAtLengthMax = 40;

    /// <summary>A warning that the text was cut; null if it was not.</summary>
    /// <param name="what">The text, such as "prompt".</param>
    public string? Warning(string what) => CutAt is null
        ? null
        : $"The {what} is too long: it has {Given} tokens, and the text encoder uses {Used}. The text from "
            + $"\"{CutAt}\" on has no effect.";
}
