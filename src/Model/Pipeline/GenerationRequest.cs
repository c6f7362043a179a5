// What one picture is made from, and nothing else: the same request gives the same picture on one kind of device.
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Atelier.Model.Diffusion;

namespace Atelier.Model.Pipeline;

/// <summary>Where the start latent's random numbers come from.</summary>
public enum StartNoise
{
    /// <summary>This project's counter-based numbers, the same everywhere.</summary>
    Seeded,

    /// <summary>torch's CPU generator, as the reference draws; seed 0 there means its fixed default seed.</summary>
    Reference,
}

/// <summary>One picture.</summary>
public sealed record GenerationRequest
{
    /// <summary>Longest prompt, in characters: Unicode code points.</summary>
    public const int PromptLengthMax = 32_000;

    private static readonly JsonWriterOptions s_compact =
        new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>What the picture shows.</summary>
    public required string Prompt { get; init; }

    /// <summary>What guidance leads away from; if empty, from the empty caption that training knows.</summary>
    public string Negative { get; init; } = "";

    /// <summary>Seed; 0 is an ordinary one.</summary>
    public ulong Seed { get; init; }

    /// <summary>Where the start latent comes from.</summary>
    public StartNoise Noise { get; init; }

    /// <summary>Steps, guidance and churn.</summary>
    public SamplerSettings Sampler { get; init; } = new();

    /// <summary>Side of the picture, in pixels.</summary>
    public required int Size { get; init; }

    /// <summary>This request, if it can be fulfilled by a model with that resolution.</summary>
    /// <exception cref="ArgumentException">Something is out of range; the message says what would be right.</exception>
    public GenerationRequest Checked(int resolution)
    {
        CheckText(Prompt, "prompt");
        CheckText(Negative, "negative prompt");
        if (string.IsNullOrWhiteSpace(Prompt))
        {
            throw new ArgumentException("The prompt is empty: say in words what the picture shows.");
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
    /// All that is needed to make the picture again, as JSON: a function of this request and the model alone.
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
                    $"The {what} is not valid Unicode: half a character stands alone at position {i}.");
            }
        }
    }
}
