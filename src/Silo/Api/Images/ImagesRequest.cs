// The request of OpenAI's images route, with the members that it lacks for this model as extra ones. Pure: what a body
// means depends on nothing but the body.

using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Pictures;

namespace Atelier.Silo.Api.Images;

/// <summary>A request for images, as OpenAI's clients send it, and some more.</summary>
internal sealed record CreateImagesRequest
{
    /// <summary>What the images show.</summary>
    public required string Prompt { get; init; }

    /// <summary>A model's name, alias or digest; without it, the default model.</summary>
    public string? Model { get; init; }

    /// <summary>Images, 1 to 10. Their seeds are the seed, the next one, and so on.</summary>
    public int? N { get; init; }

    /// <summary>auto for the model's own size, or one of the sizes that GET /v1/models lists.</summary>
    public string? Size { get; init; }

    /// <summary>
    /// low, medium (or standard) and high (or hd) take half, once and twice the model's steps; auto is medium.
    /// </summary>
    public string? Quality { get; init; }

    /// <summary>
    /// url for links that are good for 60 minutes, or b64_json. Without it, b64_json where the model is asked for by a
    /// name that begins with gpt-image, and url otherwise. Streams always carry b64_json.
    /// </summary>
    public string? ResponseFormat { get; init; }

    /// <summary>png, jpeg or webp.</summary>
    public string? OutputFormat { get; init; }

    /// <summary>Quality of a JPEG or WebP file, 0 to 100; a PNG file has 100.</summary>
    public int? OutputCompression { get; init; }

    /// <summary>auto or opaque: these models draw no transparency.</summary>
    public string? Background { get; init; }

    /// <summary>low or auto; it makes no difference here.</summary>
    public string? Moderation { get; init; }

    /// <summary>Whether to answer by server-sent events.</summary>
    public bool? Stream { get; init; }

    /// <summary>Previews in a stream, 0 to 3.</summary>
    public int? PartialImages { get; init; }

    /// <summary>vivid or natural; it makes no difference here.</summary>
    public string? Style { get; init; }

    /// <summary>The end user's id; it is not kept.</summary>
    public string? User { get; init; }

    /// <summary>Seed of the first image, as a number or as text.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Steps, 1 to 1000; they go before quality.</summary>
    public int? Steps { get; init; }

    /// <summary>Classifier-free guidance scale, 1 to 100; 1 is none.</summary>
    public double? Guidance { get; init; }

    /// <summary>What guidance leads away from.</summary>
    public string? NegativePrompt { get; init; }

    /// <summary>What a client's disconnect does: cancel (the default) or keep.</summary>
    public string? OnDisconnect { get; init; }
}

/// <summary>A request for images, read and checked.</summary>
internal sealed record ImagesRequest
{
    /// <summary>Most images in a request.</summary>
    public const int ImagesMax = 10;

    private const int UserLengthMax = 1024;

    /// <summary>Gets what to draw.</summary>
    public required DrawingRequest Drawing { get; init; }

    /// <summary>Gets the number of images.</summary>
    public int Images { get; init; } = 1;

    /// <summary>Gets the quality: low, medium or high.</summary>
    public string Quality { get; init; } = "medium";

    /// <summary>Gets whether images are answered by links.</summary>
    public bool AsLinks { get; init; }

    /// <summary>Gets the file format.</summary>
    public PictureFormat Format { get; init; } = PictureFormat.Png;

    /// <summary>Gets whether the answer is a stream of events.</summary>
    public bool Stream { get; init; }

    /// <summary>Gets the previews of each image.</summary>
    public int Partials { get; init; }

    /// <summary>Gets whether a client's disconnect cancels.</summary>
    public bool CancelOnDisconnect { get; init; } = true;

    /// <summary>Gets the factor on the model's steps.</summary>
    public double Effort => Quality switch { "low" => 0.5, "high" => 2, _ => 1 };

    /// <summary>Reads a body.</summary>
    /// <exception cref="ApiException">It is wrong.</exception>
    public static ImagesRequest Parse(ReadOnlyMemory<byte> body)
    {
        JsonFields fields = JsonFields.Parse(body, ApiJson.MembersOf<CreateImagesRequest>());
        DrawingRequest drawing = DrawingRequest.Read(fields);
        bool stream = fields.Flag("stream") ?? false;
        int partials = (int)(fields.Whole("partial_images", 0, Submission.PreviewsMax) ?? 0);
        string? background = fields.Choice("background", "transparent", "opaque", "auto");
        if (background == "transparent")
        {
            throw new ApiException(ApiError.Invalid(
                "background", "unsupported_value",
                "These models draw no transparency: 'background' must be opaque or auto."));
        }

        // Read to be checked: there is nothing here that they could change.
        _ = fields.Choice("moderation", "low", "auto");
        _ = fields.Choice("style", "vivid", "natural");
        _ = fields.Text("user", UserLengthMax);
        string? asked = fields.Choice("response_format", "url", "b64_json");
        return new ImagesRequest
        {
            Drawing = drawing,
            Images = (int)(fields.Whole("n", 1, ImagesMax) ?? 1),
            Quality = fields.Choice("quality", "standard", "hd", "low", "medium", "high", "auto") switch
            {
                "low" => "low",
                "high" or "hd" => "high",
                _ => "medium",
            },
            AsLinks = (asked ?? (IsGptImage(drawing.Model) ? "b64_json" : "url")) == "url",
            Format = ReadFormat(fields),
            Stream = stream,
            Partials = stream ? partials : 0,
            CancelOnDisconnect = fields.Choice("on_disconnect", "cancel", "keep") != "keep",
        };
    }

    private static PictureFormat ReadFormat(JsonFields fields)
    {
        string name = fields.Choice("output_format", "png", "jpeg", "webp") ?? "png";
        int quality = (int)(fields.Whole("output_compression", 0, 100) ?? 100);
        return name == "png" && quality < 100
            ? throw new ApiException(ApiError.Invalid(
                "output_compression", "invalid_value",
                "PNG files lose nothing: 'output_compression' below 100 takes output_format jpeg or webp."))
            : new PictureFormat(name, quality);
    }

    private static bool IsGptImage(string? model) => model?.StartsWith("gpt-image", StringComparison.Ordinal) == true;
}
