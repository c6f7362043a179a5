// The failures that end a training run.
namespace Atelier.Training;

/// <summary>Thrown when a run cannot continue, or has ended without a result.</summary>
/// <param name="message">What happened, and what to change.</param>
public class TrainingFailedException(string message) : Exception(message);

/// <summary>Thrown when a run cannot continue because its loss or gradients keep growing.</summary>
/// <param name="message">What happened, and what to change.</param>
public sealed class TrainingDivergedException(string message) : TrainingFailedException(message);
