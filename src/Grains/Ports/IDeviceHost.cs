// A device and the networks on it, in bytes and numbers. Behind it are one thread and one work item at a time; a device
// whose error sticks, or whose kernel does not come back, ends the process instead of answering.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Batching;

namespace Atelier.Grains.Ports;

/// <summary>What a worker is made of.</summary>
public sealed record DeviceDescription
{
    /// <summary>Name of the device within its silo.</summary>
    public required string Device { get; init; }

    /// <summary>All that a picture's bits depend on besides its specification.</summary>
    public required string DeviceKind { get; init; }

    /// <summary>What it may do.</summary>
    public required WorkRoles Roles { get; init; }

    /// <summary>Pictures in its hands at most.</summary>
    public required int Slots { get; init; }

    /// <summary>Rows of a forward pass: a guided picture takes two of them, another one.</summary>
    public required int Rows { get; init; }

    /// <summary>Memory for models, in bytes.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Models that it can load.</summary>
    public required IReadOnlyList<ModelCard> Models { get; init; }
}

/// <summary>A picture being denoised on a device.</summary>
public interface IDenoising : IBatchedPicture, IDisposable
{
    /// <summary>Steps done.</summary>
    int Step { get; }

    /// <summary>Its state as bytes: what <see cref="IDeviceHost.BeginAsync"/> goes on from.</summary>
    byte[] Snapshot();

    /// <summary>Its clean latent as bytes, once it is done.</summary>
    byte[] Latent();
}

/// <summary>
/// A device. Only a worker's loop and its errands call it; calls that overlap are done one after the other.
/// </summary>
public interface IDeviceHost : IBatchEvaluator<IDenoising>
{
    /// <summary>What it is.</summary>
    DeviceDescription Description { get; }

    /// <summary>Loads a model; for one that is there it does nothing.</summary>
    Task LoadAsync(ModelDigest model, CancellationToken cancellation);

    /// <summary>Evicts a model; for one that is not there it does nothing.</summary>
    Task EvictAsync(ModelDigest model, CancellationToken cancellation);

    /// <summary>Does a small piece of work whose answer is known.</summary>
    /// <exception cref="Exception">The device does not work: it threw, or its answer is wrong.</exception>
    Task ProbeAsync(CancellationToken cancellation);

    /// <summary>Caption features of both prompts.</summary>
    Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation);

    /// <summary>How much of both prompts <see cref="EncodeAsync"/> takes; null if the device does not know.</summary>
    Task<EncodedPrompts?> CountAsync(GenerationSpec spec, CancellationToken cancellation) =>
        Task.FromResult<EncodedPrompts?>(null);

    /// <summary>Begins a picture from its noise, or goes on from a snapshot.</summary>
    Task<IDenoising> BeginAsync(GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation);

    /// <summary>The denoised estimate at a picture's step, decoded to a file.</summary>
    Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation);

    /// <summary>The picture's file from its clean latent.</summary>
    Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation);
}

/// <summary>
/// A device could not do a piece of work and is sound otherwise. Pictures that took part in it stand where they stood.
/// </summary>
/// <param name="error">Why, as users are told.</param>
/// <param name="message">The same in a sentence.</param>
/// <param name="inner">What was thrown.</param>
public sealed class DeviceException(GenerationError error, string message, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>Why, as users are told.</summary>
    public GenerationError Error { get; } = error;
}
