namespace Atelier.Cli;

/// <summary>A command cannot do what the user requested. The user sees only the message.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class UserErrorException(string message) : Exception(message);
