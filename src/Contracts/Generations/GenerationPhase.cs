namespace Atelier.Contracts.Generations;

/// <summary>
/// The phase of a generation; <see cref="GenerationPhases"/> defines the meaning and order of the phases.
/// </summary>
[GenerateSerializer, Alias("atelier.GenerationPhase")]
public enum GenerationPhase
{
    /// <summary>The generation waits for a text encoder.</summary>
    QueuedEncode,

    /// <summary>The prompts are being encoded.</summary>
    Encoding,

    /// <summary>The generation waits for a denoiser.</summary>
    QueuedDenoise,

    /// <summary>The latent is being denoised.</summary>
    Denoising,

    /// <summary>The generation waits for a decoder.</summary>
    QueuedDecode,

    /// <summary>The latent is being decoded.</summary>
    Decoding,

    /// <summary>The picture is stored.</summary>
    Done,

    /// <summary>The generation ended without a picture, for a recorded reason.</summary>
    Failed,

    /// <summary>The generation was cancelled.</summary>
    Cancelled,
}
