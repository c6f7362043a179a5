using System.Text.Json.Serialization;
using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Generations;

namespace Atelier.Silo.Api.Images;

/// <summary>The response to a request for images.</summary>
/// <param name="Created">When the response was created, in seconds since 1970.</param>
/// <param name="Background">Always "opaque".</param>
/// <param name="OutputFormat">png, jpeg or webp.</param>
/// <param name="Size">Width and height.</param>
/// <param name="Quality">low, medium or high.</param>
/// <param name="Data">The images.</param>
/// <param name="Usage">Tokens and evaluations that the images used.</param>
/// <param name="PromptTokens">How much of the prompt the text encoder uses.</param>
/// <param name="NegativePromptTokens">
/// How much of the negative prompt the text encoder uses; null if there is no negative prompt, or guidance is 1.
/// </param>
internal sealed record ImagesResponse(
    long Created, string Background, string OutputFormat, string Size, string Quality, ImageResponse[] Data,
    UsageResponse Usage, TokenCountResponse? PromptTokens, TokenCountResponse? NegativePromptTokens);

/// <summary>An image.</summary>
internal sealed record ImageResponse
{
    /// <summary>The file in base64.</summary>
    [JsonPropertyName("b64_json"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public byte[]? Base64 { get; init; }

    /// <summary>A link to the file that is valid for 60 minutes and needs no key.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Url { get; init; }

    /// <summary>Id of the image's generation.</summary>
    public required string Id { get; init; }

    /// <summary>Seed of the image.</summary>
    public required ulong Seed { get; init; }
}

/// <summary>
/// What images used. Input is the number of tokens of both prompts that the text encoder used, for each image. Output
/// is the number of network evaluations, which count toward a tenant's daily limit.
/// </summary>
/// <param name="TotalTokens">Sum of input and output.</param>
/// <param name="InputTokens">Number of tokens of the prompts.</param>
/// <param name="OutputTokens">Number of network evaluations.</param>
/// <param name="InputTokensDetails">Input tokens by kind.</param>
internal sealed record UsageResponse(
    long TotalTokens, long InputTokens, long OutputTokens, UsageDetailsResponse InputTokensDetails)
{
    public static UsageResponse Of(GenerationSpec spec, EncodedPrompts? encoded, int images)
    {
        long input = (long)images * ((encoded?.Prompt.Used ?? 0) + (encoded?.Negative?.Used ?? 0));
        long output = (long)images * spec.Evaluations;
        return new UsageResponse(input + output, input, output, new UsageDetailsResponse(input, 0));
    }
}

/// <summary>Input tokens by kind.</summary>
/// <param name="TextTokens">Number of tokens of the prompts.</param>
/// <param name="ImageTokens">Always 0.</param>
internal sealed record UsageDetailsResponse(long TextTokens, long ImageTokens);

/// <summary>An event of a stream of images.</summary>
internal sealed record ImageEventResponse
{
    /// <summary>Type of the event; equal to the event's name.</summary>
    public required string Type { get; init; }

    /// <summary>The preview or the picture in base64.</summary>
    [JsonPropertyName("b64_json")]
    public required byte[] Base64 { get; init; }

    /// <summary>When the event was created, in seconds since 1970.</summary>
    public required long CreatedAt { get; init; }

    /// <summary>Width and height.</summary>
    public required string Size { get; init; }

    /// <summary>low, medium or high.</summary>
    public required string Quality { get; init; }

    /// <summary>Always "opaque".</summary>
    public string Background { get; init; } = "opaque";

    /// <summary>png, jpeg or webp.</summary>
    public required string OutputFormat { get; init; }

    /// <summary>Index of the preview, from 0.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? PartialImageIndex { get; init; }

    /// <summary>Index of the image, from 0; left out if the request is for one image.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? ImageIndex { get; init; }

    /// <summary>What the image used; only in its last event.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public UsageResponse? Usage { get; init; }

    /// <summary>How much of the prompt the text encoder uses; only in the image's last event.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TokenCountResponse? PromptTokens { get; init; }

    /// <summary>
    /// How much of the negative prompt the text encoder uses, if there is one; only in the image's last event.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public TokenCountResponse? NegativePromptTokens { get; init; }
}
