namespace Atelier.Contracts.Generations;

/// <summary>The phase of a generation; <see cref="GenerationPhases"/> defines meaning and order.</summary>
[GenerateSerializer, Alias("atelier.GenerationPhase")]
public enum GenerationPhase
{
    /// <summary>Waits for a text encoder.</summary>
    QueuedEncode,

    /// <summary>Its prompts are being encoded.</summary>
    Encoding,

    /// <summary>Waits for a denoiser.</summary>
    QueuedDenoise,

    /// <summary>Its latent is being denoised.</summary>
    Denoising,

    /// <summary>Waits for a decoder.</summary>
    QueuedDecode,

    /// <summary>Its latent is being decoded.</summary>
    Decoding,

    /// <summary>The picture is stored.</summary>
    Done,

    /// <summary>It ended without a picture, for a recorded reason.</summary>
    Failed,

    /// <summary>It was cancelled.</summary>
    Cancelled,
}
