using System.IO.Compression;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Http;

/// <summary>Reads the bodies of requests.</summary>
internal static class RequestBody
{
    /// <summary>Maximum size of a body in bytes, both compressed and decoded.</summary>
    public const int BytesMax = 1 << 20;

    /// <summary>Content codings that are decoded, as an Accept-Encoding header lists them.</summary>
    public const string Encodings = "gzip, br, deflate";

    // A client that is still sending does not read a response. So a body that is a little too large is read to its end
    // and discarded; if it is far too large, the connection is closed.
    private const int DiscardedBytesMax = 8 << 20;

    /// <summary>Reads a body and decodes it if it is compressed.</summary>
    /// <exception cref="ApiException">
    /// The body is too large, compressed or decoded; its Content-Type is not JSON; its Content-Encoding is not
    /// supported; or it is not valid data of that encoding.
    /// </exception>
    public static async Task<byte[]> ReadAsync(HttpRequest request, CancellationToken cancellation)
    {
        bool waits = request.Headers.Expect.Count > 0;
        if (request.ContentLength > (waits ? BytesMax : DiscardedBytesMax))
        {
            throw new ApiException(ApiError.TooLarge);
        }

        if (request.ContentType is not null && !request.HasJsonContentType())
        {
            throw new ApiException(ApiError.NotJson);
        }

        Func<Stream, Stream>? decoder = DecoderOf(request);
        if (request.HttpContext.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = DiscardedBytesMax;
        }

        long sent = 0;
        using var bytes = new MemoryStream();
        byte[] part = new byte[16 * 1024];
        try
        {
            for (int read; (read = await request.Body.ReadAsync(part, cancellation)) > 0;)
            {
                sent += read;
                if (sent <= BytesMax)
                {
                    await bytes.WriteAsync(part.AsMemory(0, read), cancellation);
                }
            }
        }
        catch (IOException error) when (error is not BadHttpRequestException)
        {
            // The server reports some malformed chunks as a failed read.
            throw new BadHttpRequestException(error.Message, error);
        }

        if (sent > BytesMax)
        {
            throw new ApiException(ApiError.TooLarge);
        }

        return decoder is null ? bytes.ToArray() : Decoded(bytes, decoder, request.Headers.ContentEncoding.ToString());
    }

    /// <summary>
    /// Reads a body as a JSON object with the members of a type. An empty body counts as an object without members.
    /// </summary>
    /// <exception cref="ApiException">The body is not a JSON object with these members only.</exception>
    public static async Task<JsonFields> FieldsAsync<TShape>(HttpRequest request)
    {
        byte[] bytes = await ReadAsync(request, request.HttpContext.RequestAborted);
        return JsonFields.Parse(bytes.Length == 0 ? "{}"u8.ToArray() : bytes, ApiJson.MembersOf<TShape>());
    }

    private static Func<Stream, Stream>? DecoderOf(HttpRequest request)
    {
        string encoding = request.Headers.ContentEncoding.ToString().Trim();
        return encoding.ToLowerInvariant() switch
        {
            "" or "identity" => null,
            "gzip" or "x-gzip" => packed => new GZipStream(packed, CompressionMode.Decompress),
            "br" => packed => new BrotliStream(packed, CompressionMode.Decompress),
            "deflate" => packed => new ZLibStream(packed, CompressionMode.Decompress),
            _ => throw new ApiException(ApiError.NotDecoded(encoding)),
        };
    }

    private static byte[] Decoded(MemoryStream packed, Func<Stream, Stream> decoder, string encoding)
    {
        packed.Position = 0;
        using Stream plain = decoder(packed);
        using var bytes = new MemoryStream();
        byte[] part = new byte[16 * 1024];
        try
        {
            for (int read; (read = plain.Read(part)) > 0;)
            {
                if (bytes.Length + read > BytesMax)
                {
                    throw new ApiException(ApiError.TooLargeDecoded);
                }

                bytes.Write(part, 0, read);
            }
        }
        catch (Exception error) when (error is InvalidDataException or InvalidOperationException or IOException)
        {
            throw new ApiException(
                ApiError.Invalid(
                    null, "bad_request",
                    $"The header Content-Encoding says '{encoding}', but the body is not valid {encoding} data."),
                error);
        }

        return bytes.ToArray();
    }
}
