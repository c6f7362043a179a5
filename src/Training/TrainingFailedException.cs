// How a run ends that comes to nothing.
namespace Atelier.Training;

/// <summary>A run cannot go on, or has come to nothing. The message says why, and what would be right.</summary>
/// <param name="message">What happened, and what would be right.</param>
public class TrainingFailedException(string message) : Exception(message);

/// <summary>A run cannot go on, because its loss or gradients keep growing.</summary>
/// <param name="message">What happened, and what would be right.</param>
public sealed class TrainingDivergedException(string message) : TrainingFailedException(message);
