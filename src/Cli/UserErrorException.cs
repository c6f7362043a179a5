namespace Atelier.Cli;

/// <summary>A command cannot do what it was asked. The message is all that a user sees.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class UserErrorException(string message) : Exception(message);
