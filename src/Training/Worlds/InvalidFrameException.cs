// The exception for bytes that are not a valid frame of the run.
namespace Atelier.Training.Worlds;

/// <summary>
/// Thrown when a peer has sent bytes that are not a valid frame of this run. The bytes that follow cannot be decoded.
/// </summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class InvalidFrameException(string message) : Exception(message);
