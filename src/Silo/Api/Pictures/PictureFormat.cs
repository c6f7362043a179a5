// The file formats of a picture. A picture is stored as PNG and converted to another format when it is sent.
using System.Globalization;
using Atelier.Model.Imaging;

namespace Atelier.Silo.Api.Pictures;

/// <summary>A file format with its quality.</summary>
/// <param name="Name">One of png, jpeg and webp.</param>
/// <param name="Quality">0 to 100; ignored for PNG.</param>
internal readonly record struct PictureFormat(string Name, int Quality)
{
    /// <summary>The format in which pictures are stored.</summary>
    public static PictureFormat Png => new("png", 100);

    /// <summary>The type for a Content-Type header.</summary>
    public string MediaType => $"image/{Name}";

    /// <summary>Reads what <see cref="ToString"/> wrote.</summary>
    public static bool TryParse(string text, out PictureFormat format)
    {
        format = Png;
        if (text == "png")
        {
            return true;
        }

        bool valid = text.Split('-') is [("jpeg" or "webp") and var name, var qualityText]
            && int.TryParse(qualityText, NumberStyles.None, CultureInfo.InvariantCulture, out int quality)
                && quality is >= 0 and <= 100
            && (format = new PictureFormat(name, quality)) != default;
        return valid;
    }

    /// <summary>Converts a PNG file to this format.</summary>
    public byte[] Encode(byte[] png)
    {
        int quality = Math.Max(1, Quality);
        return Name switch
        {
            "jpeg" => ImageCodec.EncodeJpeg(ImageCodec.Decode(png), quality),
            "webp" => ImageCodec.EncodeWebp(ImageCodec.Decode(png), quality),
            _ => png,
        };
    }

    /// <inheritdoc/>
    public override string ToString() => Name == "png" ? Name : $"{Name}-{Quality}";
}
