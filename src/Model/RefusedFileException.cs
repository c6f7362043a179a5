namespace Atelier.Model;

/// <summary>
/// A file that came from outside is damaged, hostile or of a kind that is not read here. The message names the file,
/// the place in it and the reason, in this order.
/// </summary>
/// <param name="file">Path of the file as the caller gave it.</param>
/// <param name="place">Where in the file: a byte offset, a record, a key, a sample.</param>
/// <param name="reason">What is wrong, and what would be right.</param>
/// <param name="inner">The error that revealed it, if there was one.</param>
public sealed class RefusedFileException(string file, string place, string reason, Exception? inner = null)
    : IOException($"{file}: {place}: {reason}", inner)
{
    /// <summary>Path of the refused file.</summary>
    public string File { get; } = file;

    /// <summary>The place in the file.</summary>
    public string Place { get; } = place;

    /// <summary>What is wrong.</summary>
    public string Reason { get; } = reason;
}
