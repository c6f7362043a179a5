// Excerpts of a client's text for messages.
namespace Atelier.Silo.Api.Http;

/// <summary>Truncates texts, never within a surrogate pair.</summary>
internal static class ShortText
{
    /// <summary>A text, or its beginning.</summary>
    /// <param name="text">The text.</param>
    /// <param name="lengthMax">Its maximum length in UTF-16 units.</param>
    public static string Of(string text, int lengthMax) => text.Length <= lengthMax
        ? text
        : text[..(char.IsHighSurrogate(text[lengthMax - 1]) ? lengthMax - 1 : lengthMax)];

    /// <summary>The same with three dots where something is left out.</summary>
    public static string WithDots(string text, int lengthMax) =>
        Of(text, lengthMax) + (text.Length <= lengthMax ? "" : "...");
}
