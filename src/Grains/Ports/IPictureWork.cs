// The port to a device for drawing pictures, in bytes and numbers.
using Atelier.Contracts.Generations;
using Atelier.Grains.Batching;

namespace Atelier.Grains.Ports;

/// <summary>A picture being denoised on a device.</summary>
public interface IDenoising : IBatchedPicture, IDisposable
{
    /// <summary>Steps done.</summary>
    int Step { get; }

    /// <summary>
    /// Whether the picture is between two steps, after the corrector, where it can be stored and parked.
    /// </summary>
    bool IsBetweenSteps { get; }

    /// <summary>The picture's state as bytes, from which <see cref="IPictureWork.BeginAsync"/> resumes.</summary>
    byte[] Snapshot();

    /// <summary>The clean latent as bytes, once the picture is done.</summary>
    byte[] Latent();
}

/// <summary>The steps from a prompt to a picture. Overlapping calls run one after the other, in order.</summary>
public interface IPictureWork
{
    /// <summary>Encodes both prompts into caption features.</summary>
    Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation);

    /// <summary>How much of both prompts <see cref="EncodeAsync"/> encodes; null if the device does not know.</summary>
    Task<EncodedPrompts?> CountAsync(GenerationSpec spec, CancellationToken cancellation) =>
        Task.FromResult<EncodedPrompts?>(null);

    /// <summary>Begins a picture from its noise, or resumes it from a snapshot.</summary>
    Task<IDenoising> BeginAsync(GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation);

    /// <summary>Evaluates the network once for pictures with equal keys, and advances them.</summary>
    Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation);

    /// <summary>Decodes the denoised estimate at a picture's current step to a file.</summary>
    Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation);

    /// <summary>Decodes a clean latent to the picture's file.</summary>
    Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation);
}
