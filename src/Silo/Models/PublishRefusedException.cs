namespace Atelier.Silo.Models;

/// <summary>Thrown when a checkpoint cannot be published as a model.</summary>
/// <param name="code">The reason, for programs.</param>
/// <param name="message">What is wrong, and what would be right.</param>
/// <param name="inner">The cause.</param>
internal sealed class PublishRefusedException(string code, string message, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>The reason, for programs.</summary>
    public string Code { get; } = code;
}
