// How much of a text a text encoder takes: what does not fit its context is cut off, and the caller is told.
namespace Atelier.Model.Clip;

/// <summary>The tokens of a text, without the start and end marks.</summary>
/// <param name="Given">Tokens of the whole text.</param>
/// <param name="Used">Those of them that the text encoder takes, the first ones.</param>
/// <param name="CutAt">
/// The beginning of what is cut off, in lower case as the tokenizer reads it, from the first word that does not fit
/// whole: at most <see cref="CutAtLengthMax"/> UTF-16 units. Null if nothing is cut off.
/// </param>
public sealed record TokenCount(int Given, int Used, string? CutAt)
{
    /// <summary>Longest <see cref="CutAt"/>, in UTF-16 units.</summary>
    public const int CutAtLengthMax = 40;

    /// <summary>A warning that the text is cut; null if it is not.</summary>
    /// <param name="what">The text, such as "prompt".</param>
    public string? Warning(string what) => CutAt is null
        ? null
        : $"The {what} is cut: it has {Given} tokens, and the text encoder takes {Used}. Nothing from \"{CutAt}\" on "
            + "has an effect.";
}
