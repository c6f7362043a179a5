// The error of bytes that are not a frame of the run.
namespace Atelier.Training.Worlds;

/// <summary>A peer has sent bytes that are not a frame of this run. Nothing after them can be understood.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class InvalidFrameException(string message) : Exception(message);
