namespace Atelier.Model;

/// <summary>
/// An input file is damaged, hostile or of an unsupported kind. The message names the file, the place in it and the
/// reason, in this order.
/// </summary>
/// <param name="file">Path of the file as given by the caller.</param>
/// <param name="place">The place in the file: a byte offset, a record, a key or a sample.</param>
/// <param name="reason">What is wrong and what is expected.</param>
/// <param name="inner">The underlying error; null if there is none.</param>
public sealed class RefusedFileException(string file, string place, string reason, Exception? inner = null)
    : IOException($"{file}: {place}: {reason}", inner)
{
    /// <summary>Path of the refused file.</summary>
    public string File { get; } = file;

    /// <summary>The place in the file.</summary>
    public string Place { get; } = place;

    /// <summary>What is wrong and what is expected.</summary>
    public string Reason { get; } = reason;
}
