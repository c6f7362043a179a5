// The specification of one picture. It determines the picture's bytes on a given device kind; its own bytes are
// canonical, so two requests are the same exactly when their digests are equal.
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Atelier.Contracts.Queueing;

namespace Atelier.Contracts.Generations;

/// <summary>The specification of a generation, immutable and versioned.</summary>
[GenerateSerializer, Immutable, Alias("atelier.GenerationSpec")]
public sealed record GenerationSpec
{
    /// <summary>The current version of the format.</summary>
    public const int VersionNow = 1;

    /// <summary>Maximum length of a prompt, in characters as <see cref="CharactersOf"/> counts them.</summary>
    public const int PromptLengthMax = 32_000;

    /// <summary>Maximum number of steps.</summary>
    public const int StepsMax = WorkItem.QuantaMax;

    /// <summary>Maximum width and height of a picture, in pixels.</summary>
    public const int SideMax = 4096;

    /// <summary>
    /// Maximum bytes of both prompts together as UTF-8, which is how they are stored, so that a generation's stored
    /// state stays below 64 KiB.
    /// </summary>
    public const int PromptsBytesMax = 56 * 1024;

    private static readonly JsonWriterOptions s_compact = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>The kind of request; only "text-to-image" is supported.</summary>
    [Id(0)]
    public string Kind { get; init; } = "text-to-image";

    /// <summary>The model that draws the picture.</summary>
    [Id(1)]
    public required ModelDigest Model { get; init; }

    /// <summary>Description of the picture.</summary>
    [Id(2)]
    public required string Prompt { get; init; }

    /// <summary>The negative prompt, which describes what guidance leads away from; may be empty.</summary>
    [Id(3)]
    public string Negative { get; init; } = "";

    /// <summary>Seed of the noise; 0 is a seed like any other.</summary>
    [Id(4)]
    public ulong Seed { get; init; }

    /// <summary>Steps N; a picture costs 2 N - 1 evaluations of the network.</summary>
    [Id(5)]
    public required int Steps { get; init; }

    /// <summary>The sampler; only "heun" is supported.</summary>
    [Id(6)]
    public string Sampler { get; init; } = "heun";

    /// <summary>Classifier-free guidance scale; 1 means no guidance.</summary>
    [Id(7)]
    public double Guidance { get; init; } = 1;

    /// <summary>Width, in pixels.</summary>
    [Id(8)]
    public required int Width { get; init; }

    /// <summary>Height, in pixels.</summary>
    [Id(9)]
    public required int Height { get; init; }

    /// <summary>File format; only "png" is supported.</summary>
    [Id(10)]
    public string Format { get; init; } = "png";

    /// <summary>Network evaluations that the picture takes.</summary>
    public int Evaluations => (2 * Steps) - 1;

    /// <summary>What is wrong with this specification, as a sentence; null if it is valid.</summary>
    public string? Fault() => this switch
    {
        { Kind: not "text-to-image" } => $"The kind is '{Kind}'; only 'text-to-image' is supported.",
        _ when !ModelDigest.TryParse(Model.Value, out _) =>
            "The model must be given by its digest, 64 hexadecimal digits.",
        _ when string.IsNullOrWhiteSpace(Prompt) => "The prompt is empty: describe the picture in words.",
        _ when TextFault(Prompt, "prompt") is { } fault => fault,
        _ when TextFault(Negative, "negative prompt") is { } fault => fault,
        { Steps: < 1 or > StepsMax } => $"Steps must be in 1..{StepsMax}, not {Steps}.",
        { Sampler: not "heun" } => $"The sampler is '{Sampler}'; only 'heun' is supported.",
        { Guidance: not (>= 1 and <= 100) } => $"Guidance must be in 1..100 (1 means none), not {Guidance}.",
        { Width: < 1 or > SideMax } or { Height: < 1 or > SideMax } =>
            $"Width and height must be in 1..{SideMax}, not {Width}x{Height}.",
        { Format: not "png" } => $"The format is '{Format}'; only 'png' is supported.",
        _ when Encoding.UTF8.GetByteCount(Prompt) + Encoding.UTF8.GetByteCount(Negative) is var bytes
            && bytes > PromptsBytesMax =>
            $"Both prompts together take {bytes} bytes as UTF-8; they may take at most {PromptsBytesMax}. A Latin "
            + "letter takes 1 byte, a letter of most other scripts 2 or 3, an emoji 4.",
        _ => null,
    };

    /// <summary>Length of a text in Unicode code points, so that an emoji of one code point counts as one.</summary>
    public static int CharactersOf(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.EnumerateRunes().Count();
    }

    /// <summary>Returns this specification if it is valid.</summary>
    /// <exception cref="ArgumentException">It is not valid; the message says how to correct it.</exception>
    public GenerationSpec Checked() => Fault() is { } fault ? throw new ArgumentException(fault) : this;

    /// <summary>The canonical bytes: compact JSON, members in one order, numbers in their shortest form.</summary>
    public byte[] ToCanonicalJson()
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, s_compact))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", VersionNow);
            writer.WriteString("kind", Kind);
            writer.WriteString("model", Model.Value);
            writer.WriteStartArray("adapters");
            writer.WriteEndArray();
            writer.WriteStartArray("inputs");
            writer.WriteEndArray();
            writer.WriteString("prompt", Prompt);
            writer.WriteString("negative", Negative);
            writer.WriteNumber("seed", Seed);
            writer.WriteNumber("steps", Steps);
            writer.WriteString("sampler", Sampler);
            writer.WriteNumber("guidance", Guidance);
            writer.WriteNumber("width", Width);
            writer.WriteNumber("height", Height);
            writer.WriteString("format", Format);
            writer.WriteEndObject();
        }

        return stream.ToArray();
    }

    /// <summary>SHA-256 of the canonical bytes: two requests are the same exactly when these are equal.</summary>
    public string Digest() => Convert.ToHexStringLower(SHA256.HashData(ToCanonicalJson()));

    /// <summary>The specification without its prompts, because texts of objects end up in logs.</summary>
    public override string ToString() => $"{Kind} {Width}x{Height}, {Steps} steps, seed {Seed}, model {Model}";

    private static string? TextFault(string? text, string what)
    {
        if (text is null)
        {
            return $"The {what} is missing; only a negative prompt may be empty.";
        }

        if (CharactersOf(text) is > PromptLengthMax and var characters)
        {
            return $"The {what} has {characters} characters, counted as Unicode code points; it may have at most "
                + $"{PromptLengthMax}.";
        }

        for (int i = 0; i < text.Length; i++)
        {
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                i++;
            }
            else if (char.IsSurrogate(text[i]))
            {
                return $"The {what} is not valid Unicode: an unpaired surrogate is at position {i}.";
            }
        }

        return null;
    }
}
