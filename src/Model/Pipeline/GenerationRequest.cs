// The request for one picture. The same request gives the same picture on every device of the same kind.
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Atelier.Model.Diffusion;

namespace Atelier.Model.Pipeline;

/// <summary>The source of the start latent's random numbers.</summary>
public enum StartNoise
{
    /// <summary>Counter-based numbers, the same on every machine; see <see cref="Randomness.SeededNoise"/>.</summary>
    Seeded,

    /// <summary>torch's CPU generator, as in the reference, where seed 0 means a fixed default seed.</summary>
    Reference,
}

/// <summary>A request for one picture.</summary>
public sealed record GenerationRequest
{
    /// <summary>Maximum length of a prompt, in Unicode code points.</summary>
    public const int PromptLengthMax = 32_000;

    private static readonly JsonWriterOptions s_compact =
        new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Description of the picture.</summary>
    public required string Prompt { get; init; }

    /// <summary>
    /// Description of what guidance steers away from; if empty, the empty caption of training is used.
    /// </summary>
    public string Negative { get; init; } = "";

    /// <summary>Seed of the noise; 0 is a seed like any other.</summary>
    public ulong Seed { get; init; }

    /// <summary>Source of the start latent.</summary>
    public StartNoise Noise { get; init; }

    /// <summary>Steps, guidance and churn.</summary>
    public SamplerSettings Sampler { get; init; } = new();

    /// <summary>Side of the picture, in pixels.</summary>
    public required int Size { get; init; }

    /// <summary>Returns this request if a model with the given resolution can fulfill it.</summary>
    /// <exception cref="ArgumentException">The request is not valid; the message says how to correct it.</exception>
    public GenerationRequest Checked(int resolution)
    {
        CheckText(Prompt, "prompt");
        CheckText(Negative, "negative prompt");
        if (string.IsNullOrWhiteSpace(Prompt))
        {
            throw new ArgumentException("The prompt is empty: describe the picture in words.");
        }

        if (Size != resolution)
        {
            throw new ArgumentException(
                $"This model draws pictures of {resolution}x{resolution}, not of {Size}x{Size}.");
        }

        Sampler.Checked();
        return this;
    }

    /// <summary>
    /// Everything needed to reproduce the picture, as JSON. It depends only on this request and the model.
    /// </summary>
    public string Parameters(ModelFolder model)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, s_compact))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", 1);
            writer.WriteString("kind", "text-to-image");
            writer.WriteString("model", model.Name);
            writer.WriteString("digest", model.Digest);
            writer.WriteString("prompt", Prompt);
            writer.WriteString("negative", Negative);
            writer.WriteNumber("seed", Seed);
            writer.WriteString("noise", Noise == StartNoise.Seeded ? "seeded" : "reference");
            writer.WriteString("sampler", "heun");
            writer.WriteNumber("steps", Sampler.Steps);
            writer.WriteNumber("guidance", Sampler.Guidance);
            if (Sampler.GuidanceLow > 0 || double.IsFinite(Sampler.GuidanceHigh))
            {
                writer.WriteNumber("guidanceLow", Sampler.GuidanceLow);
                writer.WriteNumber("guidanceHigh", Math.Min(Sampler.GuidanceHigh, double.MaxValue));
            }

            writer.WriteNumber("churn", Sampler.SChurn);
            writer.WriteString("size", $"{Size}x{Size}");
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static void CheckText(string text, string what)
    {
        if (text.EnumerateRunes().Count() is > PromptLengthMax and var characters)
        {
            throw new ArgumentException(
                $"The {what} has {characters} characters, counted as Unicode code points; it may have at most "
                + $"{PromptLengthMax}.");
        }

        for (int i = 0; i < text.Length; i++)
        {
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                i++;
            }
            else if (char.IsSurrogate(text[i]))
            {
                throw new ArgumentException(
                    $"The {what} is not valid Unicode: an unpaired surrogate is at position {i}.");
            }
        }
    }
}
