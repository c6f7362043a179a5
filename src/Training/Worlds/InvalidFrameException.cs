// The error of bytes that are no frame of a run.
namespace Atelier.Training.Worlds;

/// <summary>A peer has sent bytes that are no frame of this run. Nothing after them can be understood.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class InvalidFrameException(string message) : Exception(message);
