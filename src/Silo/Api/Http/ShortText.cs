// Excerpts of a client's text for messages.
namespace Atelier.Silo.Api.Http;

/// <summary>Truncates texts, never within a surrogate pair.</summary>
internal static class ShortText
{
    /// <summary>The text, or its beginning if it is too long.</summary>
    /// <param name="text">The text.</param>
    /// <param name="lengthMax">The maximum length in UTF-16 code units.</param>
    public static string Of(string text, int lengthMax) => text.Length <= lengthMax
        ? text
        : text[..(char.IsHighSurrogate(text[lengthMax - 1]) ? lengthMax - 1 : lengthMax)];

    /// <summary>The text, or its beginning and three dots if it is too long.</summary>
    public static string WithDots(string text, int lengthMax) =>
        Of(text, lengthMax) + (text.Length <= lengthMax ? "" : "...");
}
