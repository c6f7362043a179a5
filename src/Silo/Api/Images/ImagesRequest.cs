// The request of OpenAI's images route, with extra members that these models need. Parsing is pure: the result depends
// on the body alone.

using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Pictures;

namespace Atelier.Silo.Api.Images;

/// <summary>A request for images: OpenAI's members and some more.</summary>
internal sealed record CreateImagesRequest
{
    /// <summary>What the images should show.</summary>
    public required string Prompt { get; init; }

    /// <summary>A model's name, alias or digest; if left out, the default model.</summary>
    public string? Model { get; init; }

    /// <summary>
    /// Number of images, 1 to 10. The first image has the given seed, and each further image the next seed.
    /// </summary>
    public int? N { get; init; }

    /// <summary>auto for the model's native size, or one of the sizes that GET /v1/models lists.</summary>
    public string? Size { get; init; }

    /// <summary>
    /// low, medium (or standard) or high (or hd): half, once or twice the model's default number of steps. auto means
    /// medium.
    /// </summary>
    public string? Quality { get; init; }

    /// <summary>
    /// url for links that are valid for 60 minutes, or b64_json. The default is b64_json if the model's name in the
    /// request begins with gpt-image, and url otherwise. Streams always carry b64_json.
    /// </summary>
    public string? ResponseFormat { get; init; }

    /// <summary>png, jpeg or webp.</summary>
    public string? OutputFormat { get; init; }

    /// <summary>Quality of a JPEG or WebP file, 0 to 100; only 100 for PNG, which is lossless.</summary>
    public int? OutputCompression { get; init; }

    /// <summary>auto or opaque; transparency is not supported.</summary>
    public string? Background { get; init; }

    /// <summary>low or auto; accepted without effect.</summary>
    public string? Moderation { get; init; }

    /// <summary>Whether the response is a stream of server-sent events.</summary>
    public bool? Stream { get; init; }

    /// <summary>Number of previews of each image in a stream, 0 to 3.</summary>
    public int? PartialImages { get; init; }

    /// <summary>vivid or natural; accepted without effect.</summary>
    public string? Style { get; init; }

    /// <summary>The end user's id; it is not stored.</summary>
    public string? User { get; init; }

    /// <summary>Seed of the first image, as a number or as text.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Number of steps, 1 to 1000; overrides quality.</summary>
    public int? Steps { get; init; }

    /// <summary>
    /// Classifier-free guidance scale, 1 to 100; 1 means no guidance. If left out, the model's default.
    /// </summary>
    public double? Guidance { get; init; }

    /// <summary>What guidance steers the images away from.</summary>
    public string? NegativePrompt { get; init; }

    /// <summary>What happens to the images when the client disconnects: cancel (the default) or keep.</summary>
    public string? OnDisconnect { get; init; }
}

/// <summary>A valid request for images.</summary>
internal sealed record ImagesRequest
{
    /// <summary>Maximum number of images in a request.</summary>
    public const int ImagesMax = 10;

    private const int UserLengthMax = 1024;

    /// <summary>Gets the settings that all routes share.</summary>
    public required DrawingRequest Drawing { get; init; }

    /// <summary>Gets the number of images.</summary>
    public int Images { get; init; } = 1;

    /// <summary>Gets the quality: low, medium or high.</summary>
    public string Quality { get; init; } = "medium";

    /// <summary>Gets whether the response has links in place of base64.</summary>
    public bool AsLinks { get; init; }

    /// <summary>Gets the file format.</summary>
    public PictureFormat Format { get; init; } = PictureFormat.Png;

    /// <summary>Gets whether the response is a stream of events.</summary>
    public bool Stream { get; init; }

    /// <summary>Gets the number of previews of each image.</summary>
    public int Partials { get; init; }

    /// <summary>Gets whether the images are cancelled when the last client disconnects.</summary>
    public bool CancelOnDisconnect { get; init; } = true;

    /// <summary>Gets the factor by which the model's default number of steps is multiplied.</summary>
    public double Effort => Quality switch { "low" => 0.5, "high" => 2, _ => 1 };

    /// <summary>Parses a body.</summary>
    /// <exception cref="ApiException">The body is not a valid request.</exception>
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
                "Transparency is not supported: 'background' must be opaque or auto."));
        }

        // Validated, but without effect here.
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
                "PNG is lossless: 'output_compression' below 100 requires output_format jpeg or webp."))
            : new PictureFormat(name, quality);
    }

    private static bool IsGptImage(string? model) => model?.StartsWith("gpt-image", StringComparison.Ordinal) == true;
}
