// What a device does for pictures, in bytes and numbers.
using Atelier.Contracts.Generations;
using Atelier.Grains.Batching;

namespace Atelier.Grains.Ports;

/// <summary>A picture being denoised on a device.</summary>
public interface IDenoising : IBatchedPicture, IDisposable
{
    /// <summary>Steps done.</summary>
    int Step { get; }

    /// <summary>Whether it is between two steps, after the corrector: it can be stored and parked here.</summary>
    bool IsBetweenSteps { get; }

    /// <summary>Its state as bytes: what <see cref="IPictureWork.BeginAsync"/> resumes.</summary>
    byte[] Snapshot();

    /// <summary>Its clean latent as bytes, once it is done.</summary>
    byte[] Latent();
}

/// <summary>The way from a prompt to a picture. Calls that overlap are done one after the other, in order.</summary>
public interface IPictureWork
{
    /// <summary>Caption features of both prompts.</summary>
    Task<byte[]> EncodeAsync(GenerationSpec spec, CancellationToken cancellation);

    /// <summary>How much of both prompts <see cref="EncodeAsync"/> takes; null if the device does not know.</summary>
    Task<EncodedPrompts?> CountAsync(GenerationSpec spec, CancellationToken cancellation) =>
        Task.FromResult<EncodedPrompts?>(null);

    /// <summary>Begins a picture from its noise, or resumes it from a snapshot.</summary>
    Task<IDenoising> BeginAsync(GenerationSpec spec, byte[] caption, byte[]? snapshot, CancellationToken cancellation);

    /// <summary>One evaluation of the network for all of them, which advances each; they have equal keys.</summary>
    Task EvaluateAsync(IReadOnlyList<IDenoising> batch, CancellationToken cancellation);

    /// <summary>The denoised estimate at a picture's step, decoded to a file.</summary>
    Task<byte[]> PreviewAsync(GenerationSpec spec, IDenoising picture, CancellationToken cancellation);

    /// <summary>The picture's file from its clean latent.</summary>
    Task<byte[]> DecodeAsync(GenerationSpec spec, byte[] latent, CancellationToken cancellation);
}
