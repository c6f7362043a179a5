// The failures that end a training run.
namespace Atelier.Training;

/// <summary>A run cannot continue, or has ended without a result. The message says why and what to change.</summary>
/// <param name="message">What happened and what to change.</param>
public class TrainingFailedException(string message) : Exception(message);

/// <summary>A run cannot continue because its loss or gradients keep growing.</summary>
/// <param name="message">What happened and what to change.</param>
public sealed class TrainingDivergedException(string message) : TrainingFailedException(message);
