using System.IO.Compression;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Http;

/// <summary>Reads bodies.</summary>
internal static class RequestBody
{
    /// <summary>Most bytes in a body.</summary>
    public const int BytesMax = 1 << 20;

    /// <summary>Content codings that are decoded, as an Accept-Encoding header lists them.</summary>
    public const string Encodings = "gzip, br, deflate";

    // A client that is still sending does not hear an answer. So a body that is a little too large is read to its end,
    // and forgotten; of one that is far too large the connection is cut.
    private const int ForgottenBytesMax = 8 << 20;

    /// <summary>The bytes of a body, decoded where it is compressed.</summary>
    /// <exception cref="ApiException">
    /// It is too large, compressed or decoded; or it is not JSON by its Content-Type, or has a Content-Encoding that is
    /// not decoded here, or is not what that header says.
    /// </exception>
    public static async Task<byte[]> ReadAsync(HttpRequest request, CancellationToken cancellation)
    {
        bool waits = request.Headers.Expect.Count > 0;
        if (request.ContentLength > (waits ? BytesMax : ForgottenBytesMax))
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
            limit.MaxRequestBodySize = ForgottenBytesMax;
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

    /// <summary>The members of a body whose shape is <typeparamref name="TShape"/>; none of an empty one.</summary>
    /// <exception cref="ApiException">It is no JSON object with these members only.</exception>
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
