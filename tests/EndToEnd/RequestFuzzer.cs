// Invalid and unusual requests, drawn from a seed.
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;

namespace Atelier.EndToEnd;

/// <summary>A request as bytes.</summary>
/// <param name="What">Its kind.</param>
/// <param name="Bytes">What is sent.</param>
/// <param name="IsParsed">Whether its head is valid HTTP, so that the gateway or a silo answers it.</param>
/// <param name="MayBeCut">Whether the connection may end without an answer.</param>
internal sealed record FuzzedRequest(string What, byte[] Bytes, bool IsParsed, bool MayBeCut)
{
    /// <summary>
    /// Whether the request may be incomplete, so that the server waits for the rest until the client closes its side.
    /// </summary>
    public bool MayWait { get; init; }

    /// <summary>Whether its answer has no body.</summary>
    public bool IsHead => Encoding.Latin1.GetString(Bytes, 0, Math.Min(5, Bytes.Length)) == "HEAD ";
}

/// <summary>Draws one request.</summary>
/// <param name="seed">Every seed gives a different one.</param>
internal sealed class RequestFuzzer(int seed)
{
    private const int LargeBytes = 1 << 20;

    // A server may refuse larger headers before it has read them; the answer can then be lost with the connection.
    private const int HeadersAnswered = 16_000;

    private static readonly (string Path, string[] Members)[] s_routes =
    [
        ("/v1/images/generations",
            [
                "prompt", "model", "n", "size", "quality", "response_format", "output_format", "output_compression",
                "background", "moderation", "stream", "partial_images", "style", "user", "seed", "steps", "guidance",
                "negative_prompt", "on_disconnect",
            ]),
        ("/v1/generations",
            ["id", "prompt", "negative_prompt", "model", "seed", "steps", "guidance", "size", "previews"]),
        ("/v1/sessions", ["id"]),
        ("/v1/sessions/s/generations", ["id", "prompt", "steps", "seed"]),
        ("/v1/sessions/s/generations/g/variations", ["id", "seed"]),
        ("/v1/generations/g/cancel", ["id"]),
        ("/v1/admin/tenants/fuzz0/keys", ["label"]),
        ("/v1/models/first", ["id"]),
    ];

    private static readonly string[] s_values =
    [
        "null", "true", "false", "0", "-1", "1", "2", "10", "11", "1000", "1001", "1.5", "1e3", "-0", "1e400",
        "0.1e-400", "18446744073709551615", "18446744073709551616", "99999999999999999999999999", "\"\"", "\" \"",
        "\"a\"", "\"s\"", "\"g\"", "\"auto\"", "\"32x32\"", "\"gpt-image-1\"", "\"first\"", "\"b64_json\"",
        "\"url\"", "\"webp\"", "\"png\"", "\"high\"", "\"keep\"", "\"cancel\"", "\"transparent\"", "\"7\"",
        "\"-7\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00x\"", "\"\\ud83c\\udfa8\"", "\"a/b\"", "\"..\"",
        "\"<script>\"", "\"é日🎨\u200d\u0301\u202e\"", "{}", "[]", "[[[[[[[[[]]]]]]]]]",
        "{\"a\":{\"a\":1,\"a\":2}}", "[1,2,{\"b\":null}]", "nul", "01", "+1", "NaN", "Infinity", "'a'", "\"\t\"",
        "\"\\x\"",
    ];

    private static readonly string[] s_headers =
    [
        "Accept", "Accept-Encoding", "Accept-Language", "Expect", "Range", "If-Range", "If-Match", "If-None-Match",
        "If-Modified-Since", "Last-Event-ID", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
        "X-Forwarded-Prefix", "Forwarded", "Cookie", "Upgrade", "TE", "Trailer", "Via", "Warning", "Origin",
        "Referer", "User-Agent", "Date", "Priority", "Content-Type", "Content-Encoding", "Content-Language",
        "Content-Range", "Content-MD5", "X-Stainless-Retry-Count", "X-Request-Id", "X-Atelier-Ticket",
        "X-Atelier-Clock", "X-HTTP-Method-Override", "Authorization", "Proxy-Authorization", "Idempotency-Key",
        "traceparent", "tracestate", "baggage", "Request-Id", "Correlation-Context", "Sec-WebSocket-Key",
    ];

    private static readonly string[] s_texts =
    [
        "", "*", "*/*", "gzip", "identity;q=0", "br;q=1.000,*;q=0", "100-continue", "200-maybe", "bytes=0-0",
        "bytes=5-1", "bytes=-9999999999999999999", "bytes=0-,0-,0-", "\"a\"", "W/\"a\"", "\"",
        "Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "0.0", "6.0", "3.1000", "-1.-1", "https", "http, https",
        "for=1.2.3.4;proto=https", "::1", "a b", "a,b,,c", ";;;=", "websocket", "trailers", "chunked", "close",
        "application/json; charset=utf-16", "application/json;charset=\"", "text/plain",
        "multipart/form-data; boundary=x", "deflate", "zstd", "x-gzip", "1", "-1", "99999999999999999999",
        "DELETE", "Basic YTpi", "Bearer ", "Bearer a b", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-zz-zz-zz", "%0d%0a", "../..", "é", "日本🎨", "\u00ff\u00fe", "[::1]:99999", "\"<>&'",
    ];

    private static readonly string[] s_segments =
    [
        "", "v1", "V1", "models", "generations", "sessions", "images", "pictures", "admin", "tenants", "status",
        "keys", "docs", "openapi", "v1.json", "v2.json", "health", "ready", "live", "first", "Atelier%20Shapes",
        "g", "s", "picture", "previews", "0", "events", "cancel", "variations", ".", "..", "%2e", "%2e%2e",
        "%252e%252e", "a%2fb", "a%5cb", "a\\b", "%", "%2", "%zz", "%00", "%ff", "%c3%a9", "%f0%9f%8e%a8", "a;b",
        "a+b", "~", "*", "{id}", "app.js", "index.html", "@", ":", "a=b", "scalar.js",
    ];

    private static readonly byte[][] s_bombs =
    [
        .. new[] { "gzip", "br", "deflate" }.Select(encoding => Packed(encoding, new byte[16 << 20])),
    ];

    private readonly Random _random = new(seed);

    /// <summary>The next request.</summary>
    /// <param name="key">A key of a tenant.</param>
    public FuzzedRequest Next(string key) => _random.Next(10) switch
    {
        < 3 => Json(key),
        3 => Encoded(key),
        < 6 => Headers(key),
        < 8 => Path(key),
        _ => Raw(key),
    };

    private static byte[] Packed(string encoding, byte[] body)
    {
        var packed = new MemoryStream();
        using (Stream packer = encoding switch
        {
            "gzip" => new GZipStream(packed, CompressionLevel.Fastest),
            "br" => new BrotliStream(packed, CompressionLevel.Fastest),
            _ => new ZLibStream(packed, CompressionLevel.Fastest),
        })
        {
            packer.Write(body);
        }

        return packed.ToArray();
    }

    private FuzzedRequest Json(string key)
    {
        (string path, byte[] body) = Body();
        bool isLarge = body.Length > LargeBytes;
        string method = Chance(20) ? Of("PUT", "PATCH", "DELETE", "GET", "QUERY") : "POST";
        return new FuzzedRequest(
            "a body", Request(method, path, key, body, "Content-Type: application/json\r\n"), true, isLarge);
    }

    private FuzzedRequest Encoded(string key)
    {
        (string path, byte[] body) = Body();
        string encoding = Of("gzip", "br", "deflate");
        string said = Chance(4) ? Of("zstd", "gzip, br", "x-gzip", "GZIP", "identity", "", ";") : encoding;
        byte[] packed = _random.Next(8) switch
        {
            0 => s_bombs[_random.Next(s_bombs.Length)],
            1 => body,
            _ => Packed(encoding, body),
        };
        packed = Chance(3) ? Changed(packed) : packed;
        return new FuzzedRequest(
            "a compressed body",
            Request("POST", path, key, packed, $"Content-Type: application/json\r\nContent-Encoding: {said}\r\n"), true,
            packed.Length > LargeBytes);
    }

    private FuzzedRequest Headers(string key)
    {
        var headers = new StringBuilder();
        for (int count = Chance(30) ? _random.Next(60, 140) : _random.Next(1, 6); count > 0; count--)
        {
            string name = Chance(8) ? "X-" + Letters(8) : Of(s_headers);
            string text = Chance(5) ? Letters(_random.Next(Chance(5) ? 12_000 : 200)) : Of(s_texts);
            headers.Append(CultureInfo.InvariantCulture, $"{name}: {text}\r\n");
        }

        (string path, byte[] body) = Body();
        byte[] request = Chance(2)
            ? Request("POST", path, key, body, headers.ToString())
            : Request(
                Of("GET", "HEAD"),
                Of("/v1/models", "/", "/docs", "/v1/generations/g/events", "/v1/sessions/s/generations"), key, [],
                headers.ToString());
        return new FuzzedRequest("headers", request, false, MayBeCut: request.Length > HeadersAnswered);
    }

    private FuzzedRequest Path(string key)
    {
        var path = new StringBuilder();
        for (int count = _random.Next(1, 7); count > 0; count--)
        {
            path.Append('/').Append(Of(s_segments));
        }

        if (Chance(3))
        {
            path.Clear().Append("/v1/models/").Append(Of(s_segments)).Append(Of(s_segments));
        }

        if (Chance(2))
        {
            path.Append('?').Append(Of(
                "count=1", "count=%", "start=-1", "after=", "on_disconnect=cancel", "a[]=1&a=2", "&&&", "%ff=%00", "=",
                Letters(300), "é"));
        }

        string method = Of("GET", "GET", "HEAD", "DELETE", "POST", "PUT", "OPTIONS", "TRACE", "PATCH", "get", "FOO");
        return new FuzzedRequest("a path", Request(method, path.ToString(), key, [], ""), false, MayBeCut: false);
    }

    private FuzzedRequest Raw(string key)
    {
        const string End = "\r\n\r\n", Chunked = $"Transfer-Encoding: chunked{End}", Sized = "Content-Length: 25\r\n";
        const string Body = "{\"prompt\":\"a\",\"steps\":12}", Chunk = $"19\r\n{Body}\r\n0\r\n";
        string head = "POST /v1/images/generations HTTP/1.1\r\nHost: h\r\n"
            + $"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n", closing =
                head + "Connection: close\r\n";
        string size = Of(
            "19", "18", "1a", "0", "00000019", "fffffffffffffffff", "ffffffffffffffff", "7fffffffffffffff", "80000000",
            "-1", "+19", "0x19", " 19", "19 ", "19;a=b", "19;\r\n", "g", "", "19\r\n19", Letters(40));
        string length = Of(
            "25", "24", "26", "-1", "+25", "025", "25, 25", "25, 26", "1e2", "99999999999999999999", "2147483648", "");
        string coding = Of("chunked, chunked", "gzip, chunked", "identity", "Chunked", "chunked;q=1", "x");
        string trailer = Of("a: b", "no colon", ": x", "Content-Length: 5", Letters(9000));
        string header = Of(
            "folded: a\r\n b", "no colon", "a b: c", "é: x", "a: \u0000", "a: \u0007", ": x", "x:" + Letters(40_000));
        string method = Of("GET", "", " GET", "G\0T", "GET\t", Letters(3000));
        string target = Of(
            "/", "*", "", "//", "http://h/v1/models", "h:80", "/\u0001", "/é", "/" + Letters(9000));
        string version = Of("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", "");
        string host = Of(
            "Host: h", "", "Host: a b", "Host: a\r\nHost: b", "Host: [::1]:99999", "host : h", "Host:\th");
        int kind = _random.Next(12);
        string raw = kind switch
        {
            0 => $"{closing}Transfer-Encoding: chunked{End}{size}\r\n{Body}\r\n0{End}",
            1 => $"{closing}Transfer-Encoding: {coding}{End}{Chunk}\r\n",
            2 => $"{closing}Content-Length: {length}{End}{Body}",
            3 => $"{closing}{Sized}{Chunked}{Chunk}\r\n",
            4 => $"{closing}{Sized}Content-Length: {Of("25", "5")}{End}{Body}",
            5 => $"{closing}{Chunked}{Chunk}{trailer}{End}",
            6 => $"{method} {target} {version}\r\n{host}\r\nConnection: close{End}",
            7 => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Letters(40),
            8 => closing.Replace("\r\n", Of("\n", "\r", "\r\n \r\n"), StringComparison.Ordinal) + Sized + "\r\n" + Body,
            9 => $"{closing}{Sized}{header}{End}{Body}",
            10 => $"{head}{Sized}\r\n{Body}{closing}{Sized}\r\n{Body}",
            _ => $"{closing}Expect: {Of("100-continue", "x")}\r\n{Sized}\r\n{Body}",
        };
        byte[] bytes = Encoding.Latin1.GetBytes(raw);
        bool isChanged = Chance(3);
        return new FuzzedRequest("raw HTTP", isChanged ? Changed(bytes) : bytes, false, MayBeCut: true)
        {
            // A size that is too large, the preface of HTTP/2, or a head without an end.
            MayWait = isChanged || kind is 0 or 2 or 7 or 8,
        };
    }

    private (string Path, byte[] Body) Body()
    {
        (string path, string[] members) = s_routes[_random.Next(s_routes.Length)];
        var parts = new List<string>();
        if (members.Contains("prompt") && !Chance(5))
        {
            string prompt = Chance(15)
                ? string.Concat(Enumerable.Repeat(Of("a", "🎨", "\u00a0", "日", "a b"), _random.Next(1, 33_000)))
                : "a red square";
            parts.Add($"\"prompt\":{JsonSerializer.Serialize(prompt)}");
        }

        for (int count = _random.Next(4); count > 0; count--)
        {
            string name = Chance(10) ? Of("promt", "", "é", "__proto__", "prompt ", "Prompt") : Of(members);
            parts.Add($"\"{name}\":{Of(s_values)}");
        }

        string json = _random.Next(25) switch
        {
            0 => Of(s_values),
            1 => new string(Of("[", "{\"a\":", "\"", "0")[0], _random.Next(1, 100_000)),
            2 => $"{{{string.Join(",", parts)}}}{Of(" ", "x", "{}", "\0", "//")}",
            3 => $"\ufeff{{{string.Join(",", parts)}}}",
            4 => $"{{{string.Join(",", parts)},\"user\":\"{Letters(_random.Next(3) * LargeBytes / 2)}\"}}",
            _ => $"{{{string.Join(Of(",", ",\n ", ","), parts)}}}",
        };
        byte[] body = Encoding.UTF8.GetBytes(json);
        return (path, Chance(4) ? Changed(body) : body);
    }

    // Changes, inserts, removes or repeats some bytes, or cuts off the end.
    private byte[] Changed(byte[] bytes)
    {
        List<byte> changed = [.. bytes.Take(LargeBytes / 8)];
        for (int count = _random.Next(1, 4); count > 0 && changed.Count > 0; count--)
        {
            int at = _random.Next(changed.Count), length = Math.Min(_random.Next(1, 9), changed.Count - at);
            switch (_random.Next(5))
            {
                case 0:
                    changed[at] = (byte)_random.Next(256);
                    break;
                case 1:
                    changed.Insert(at, (byte)_random.Next(256));
                    break;
                case 2:
                    changed.RemoveRange(at, length);
                    break;
                case 3:
                    changed.InsertRange(at, changed.GetRange(at, length));
                    break;
                default:
                    changed.RemoveRange(at, changed.Count - at);
                    break;
            }
        }

        return [.. changed];
    }

    private static byte[] Request(string method, string path, string key, byte[] body, string headers) =>
    [
        .. Encoding.UTF8.GetBytes(
            $"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n"
            + headers + (body.Length > 0 ? $"Content-Length: {body.Length}\r\n\r\n" : "\r\n")),
        .. body,
    ];

    private string Letters(int count) =>
        new([.. Enumerable.Range(0, count).Select(_ => (char)('a' + _random.Next(26)))]);

    private bool Chance(int oneIn) => _random.Next(oneIn) == 0;

    private string Of(params string[] texts) => texts[_random.Next(texts.Length)];
}
