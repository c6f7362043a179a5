// Goal: the API handles HTTP as clients use it: HEAD, compressed bodies, any name of a model, and an error that names
// fault and place, in one shape. Method: requests over HTTP and raw bytes against a cluster in one process.
using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Reflection;
using System.Text;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Tenants;
using Microsoft.AspNetCore.Builder;
using Xunit;

namespace Atelier.Silo.Tests.Api.Http;

[Collection(nameof(ApiCluster))]
public sealed class HttpTests(ApiCluster cluster)
{
    [Fact]
    public async Task Head_OnEveryGetRoute_AnswersAsGetWithoutTheBody()
    {
        const string Tenant = "http-head";
        using HttpClient client = await cluster.ClientAsync(Tenant), admin = cluster.Admin();
        await client.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"s"}""").JsonAsync(HttpStatusCode.Created);
        await client.SendAsync(
            HttpMethod.Post, "/v1/sessions/s/generations", """{"id":"g","prompt":"red","previews":1,"steps":4}""")
            .JsonAsync(HttpStatusCode.Accepted);
        await client.SendAsync(HttpMethod.Get, "/v1/generations/g/events").EventsAsync();
        string token = ApiCluster.Tickets.Link(
            new GenerationKey(new TenantId(Tenant), new GenerationId("g")), "jpeg-90");
        JsonElement document = await client.SendAsync(HttpMethod.Get, "/openapi/v1.json").JsonAsync();
        string[] routes =
        [
            "/docs", "/openapi/v1.json", "/openapi/v2.json", "/nothing", "/v1/generations/nothing",
            .. document.GetProperty("paths").EnumerateObject().Where(path => path.Value.TryGetProperty("get", out _))
                .Select(path => path.Name
                    .Replace("{tenant}", Tenant, StringComparison.Ordinal).Replace(
                        "{index}", "0", StringComparison.Ordinal)
                    .Replace("{token}", token, StringComparison.Ordinal)
                    .Replace("/models/{id}", "/models/first", StringComparison.Ordinal)
                    .Replace("/sessions/{id}", "/sessions/s", StringComparison.Ordinal)
                    .Replace("/generations/{id}", "/generations/g", StringComparison.Ordinal)),
        ];
        Assert.True(routes.Length >= 16, $"{routes.Length} routes");
        foreach (string route in routes)
        {
            HttpClient caller = route.Contains("/admin/", StringComparison.Ordinal) ? admin : client;
            using HttpResponseMessage get = await caller.SendAsync(HttpMethod.Get, route);
            byte[] body = await get.Content.ReadAsByteArrayAsync(ApiCluster.Cancellation);
            using HttpResponseMessage head = await caller.SendAsync(HttpMethod.Head, route);
            Assert.Empty(await head.Content.ReadAsByteArrayAsync(ApiCluster.Cancellation));
            Assert.True(get.StatusCode == head.StatusCode, $"{route}: {get.StatusCode}, {head.StatusCode}");
            Assert.Equal(get.Content.Headers.ContentType, head.Content.Headers.ContentType);
            Assert.Equal(get.Headers.ETag, head.Headers.ETag);
            Assert.NotEmpty(Assert.Single(head.Headers.GetValues("x-request-id")));
            bool isStream = get.Content.Headers.ContentType?.MediaType == "text/event-stream";

            // The header as sent, not the length that reading the content would compute.
            string? length = head.Content.Headers.NonValidated.TryGetValues(
                "Content-Length", out HeaderStringValues sent)
                ? sent.ToString() : null;
            Assert.True(
                isStream ? length is null : length == $"{body.Length}"
                    || route.EndsWith("/status", StringComparison.Ordinal),
                $"{route}: {length}, not {body.Length}");
        }

        Assert.Equal(
            HttpStatusCode.MethodNotAllowed, (await client.SendAsync(HttpMethod.Head, ApiCalls.Images)).StatusCode);
    }

    [Fact]
    public async Task Head_OfAContinuingStream_EndsAtOnce_AndCancelsNothing()
    {
        using HttpClient client = await cluster.ClientAsync("http-head-stream");
        using (cluster.Device.HoldAfter(0))
        {
            await client.SendAsync(HttpMethod.Post, "/v1/generations", """{"id":"g","prompt":"red"}""")
                .JsonAsync(HttpStatusCode.Accepted);
            using HttpResponseMessage head = await client.SendAsync(
                HttpMethod.Head, "/v1/generations/g/events?on_disconnect=cancel");
            Assert.Equal("text/event-stream", head.Content.Headers.ContentType?.MediaType);
            Assert.Empty(await head.Content.ReadAsByteArrayAsync(ApiCluster.Cancellation));
        }

        List<SentEvent> events = await client.SendAsync(HttpMethod.Get, "/v1/generations/g/events").EventsAsync();
        Assert.Equal("done", events[^1].Name);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("X-GZIP")]
    [InlineData("br")]
    [InlineData("deflate")]
    [InlineData("identity")]
    public async Task CompressedBody_IsDecodedWithinTheSameBound(string encoding)
    {
        using HttpClient client = await cluster.ClientAsync("http-encodings");
        byte[] body = """{"id":"a b"}"""u8.ToArray();
        (string Code, string? Param, string _) read = await SendAsync(
            client, "/v1/sessions", encoding, Packed(encoding, body)).ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Equal(("invalid_value", "id"), (read.Code, read.Param));
        if (encoding == "identity")
        {
            return;
        }

        // A few KiB that would decompress to 64 MiB.
        byte[] bomb = Packed(encoding, [.. body, .. new byte[64 << 20]]);
        Assert.True(bomb.Length < 1 << 17);
        Assert.Equal(
            "body_too_large",
            (await SendAsync(client, "/v1/sessions", encoding, bomb)
                .ErrorAsync(HttpStatusCode.RequestEntityTooLarge)).Code);
        byte[] packed = Packed(encoding, body);
        foreach (byte[] damaged in new[] { body, [.. packed.Select(b => (byte)~b)], packed[..(packed.Length / 2)] })
        {
            (string code, _, string message) = await SendAsync(
                client, "/v1/sessions", encoding, damaged).ErrorAsync(HttpStatusCode.BadRequest);
            Assert.True(
                code == "invalid_json" || message.Contains($"'{encoding}'", StringComparison.Ordinal),
                $"{code} {message}");
        }
    }

    [Theory]
    [InlineData("zstd")]
    [InlineData("gzip, gzip")]
    [InlineData("x-nonsense")]
    public async Task CompressedBody_InAnotherEncoding_IsRefusedWithThoseThatAreTaken(string encoding)
    {
        using HttpClient client = await cluster.ClientAsync("http-encodings");
        foreach (string path in new[] { ApiCalls.Images, "/v1/generations", "/v1/sessions" })
        {
            Task<HttpResponseMessage> answer = SendAsync(client, path, encoding, """{"prompt":"a"}"""u8.ToArray());
            (string code, _, string message) = await answer.ErrorAsync(HttpStatusCode.UnsupportedMediaType);
            Assert.Equal("unsupported_content_encoding", code);
            Assert.Contains($"'{encoding}'", message, StringComparison.Ordinal);
            Assert.Equal("gzip, br, deflate", string.Join(", ", (await answer).Headers.GetValues("Accept-Encoding")));
        }
    }

    [Theory]
    [InlineData("""{"id":"a","id":"b"}""", "id", "line 1, byte 11")]
    [InlineData("{\"prompt\":\"é\",\n  \"n\":1,\n  \"prom\\u0070t\":\"b\"}", "prompt", "line 3, byte 3")]
    [InlineData("""{"prompt":{"a":[1,{"b":1,"c":{"b":2},"b":3}]}}""", "prompt.a[].b", "line 1, byte 38")]
    [InlineData("""{"n":[[{"x":1},{"x":1,"x":2}]]}""", "n[][].x", "line 1, byte 23")]
    [InlineData("""[{"x":1},{"x":1,"x":2}]""", "[].x", "line 1, byte 17")]
    public async Task RepeatedMember_IsNamedWithItsPlace(string body, string member, string place)
    {
        using HttpClient client = await cluster.ClientAsync("http-repeated"), admin = cluster.Admin();
        foreach (string path in new[] { ApiCalls.Images, "/v1/generations", "/v1/sessions",
            "/v1/sessions/s/generations/g/variations", "/v1/admin/tenants/http-repeated/keys" })
        {
            HttpClient caller = path.Contains("admin", StringComparison.Ordinal) ? admin : client;
            (string code, string? param, string message) =
                await caller.SendAsync(HttpMethod.Post, path, body).ErrorAsync(
                    HttpStatusCode.BadRequest);
            Assert.Equal(("invalid_json", member), (code, param));
            Assert.Contains($"'{member}' twice, the second time at {place}.", message, StringComparison.Ordinal);
        }

        // Other faults have a place too, and apparent duplicates are not errors.
        (_, _, string cut) = await client.SendAsync(
            HttpMethod.Post, "/v1/sessions",
            "{\"id\":{\"a\":1},\n\"a\":[{\"a\":1},{\"a\":1}],").ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Contains("at line 2, byte 22", cut, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("fffffffffffffffff\r\n{}\r\n0\r\n\r\n")]
    [InlineData("ffffffffffffffff\r\n{}\r\n0\r\n\r\n")]
    [InlineData("7fffffffffffffff\r\n{}\r\n0\r\n\r\n")]
    [InlineData("-2\r\n{}\r\n0\r\n\r\n")]
    [InlineData("2;a\r\n{}x\r\n0\r\n\r\n")]
    [InlineData("2\r\n{}\r\n0\r\nno trailer\r\n\r\n")]
    public async Task InvalidChunks_AreTheClientsFault(string chunks)
    {
        using HttpClient client = await cluster.ClientAsync("http-chunks");
        string ticket = ApiCluster.Tickets.Sign(
            new Caller(new TenantId("http-chunks"), IsAdmin: false), "POST", "/v1/sessions", "{}"u8);
        using var socket = new TcpClient();
        await socket.ConnectAsync(IPAddress.Loopback, cluster.Address.Port, ApiCluster.Cancellation);
        await socket.GetStream().WriteAsync(
            Encoding.ASCII.GetBytes(
                $"POST /v1/sessions HTTP/1.1\r\nHost: a\r\n{Tickets.Header}: {ticket}\r\nContent-Type: "
                + "application/json\r\n"
                + $"Transfer-Encoding: chunked\r\n\r\n{chunks}"), ApiCluster.Cancellation);
        using var reader = new StreamReader(socket.GetStream());
        string status = (await reader.ReadLineAsync(ApiCluster.Cancellation))!;
        Assert.True(status is "HTTP/1.1 400 Bad Request" or "HTTP/1.1 413 Payload Too Large", status);
    }

    [Theory]
    [InlineData("Atelier Shapes", "Atelier%20Shapes")]
    [InlineData("a/b", "a%2Fb")]
    [InlineData("a/b", "a/b")]
    [InlineData("a%2Fb", "a%252Fb")]
    [InlineData("s3://bucket/x/", "s3%3A%2F%2Fbucket%2Fx%2F")]
    [InlineData("100% [größe] (v2) #1?", "100%25%20%5Bgr%C3%B6%C3%9Fe%5D%20%28v2%29%20%231%3F")]
    [InlineData("a+b=c&d;e\\f\"'", "a+b=c&d;e%5Cf%22%27")]
    [InlineData("日本🎨", "%E6%97%A5%E6%9C%AC%F0%9F%8E%A8")]
    public async Task Model_IsFoundByItsNameWhateverThatIs(string name, string escaped)
    {
        ModelCard card = ApiCluster.Default.Card with { Name = name };
        IModelCatalogGrain catalog = DispatchProxy.Create<IModelCatalogGrain, NamedCatalog>();
        ((NamedCatalog)(object)catalog).Card = card;
        IGrainFactory grains = DispatchProxy.Create<IGrainFactory, OneGrain>();
        ((OneGrain)(object)grains).Grain = catalog;
        await using WebApplication app = await ApiCluster.ServeAsync(grains, cluster.Blobs());
        using HttpClient client = cluster.As(new Caller(new TenantId("http-models"), IsAdmin: false));
        var url = new Uri(
            app.Urls.Single() + "/v1/models/" + escaped,
            new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });
        JsonElement model = await client.GetAsync(url, ApiCluster.Cancellation).JsonAsync();
        Assert.Equal(name, model.Text("id"));
    }

    [Theory]
    [InlineData("GET", "/openapi/v2.json", 404, "unknown_url")]
    [InlineData("GET", "/openapi/v1.yaml", 404, "unknown_url")]
    [InlineData("GET", "/docs/a/b/c", 404, "unknown_url")]
    [InlineData("POST", "/docs", 405, "method_not_allowed")]
    [InlineData("DELETE", "/openapi/v1.json", 405, "method_not_allowed")]
    [InlineData("GET", "/v1/images/generations", 405, "method_not_allowed")]
    [InlineData("PATCH", "/v1/sessions", 405, "method_not_allowed")]
    [InlineData("OPTIONS", "/v1/models", 405, "method_not_allowed")]
    [InlineData("GET", "/v1/generations/a/previews/%F0%9F%8E%A8", 404, "not_found")]
    public async Task Refusals_HaveOneShape(string method, string path, int status, string code)
    {
        using HttpClient client = await cluster.ClientAsync("http-shapes");
        Assert.Equal(
            code, (await client.SendAsync(new HttpMethod(method), path).ErrorAsync((HttpStatusCode)status)).Code);
    }

    [Theory]
    [InlineData("🎨", 14_000, true)]
    [InlineData("🎨", 14_337, false)]
    [InlineData("\u00a0a", 16_000, true)]
    [InlineData("é", 28_672, true)]
    [InlineData("a", 32_000, true)]
    [InlineData("🎨aaa", 8_000, true)]
    [InlineData("a", 32_001, false)]
    public async Task Prompts_AreCountedInCharactersAndBoundedInBytes(string letter, int count, bool fits)
    {
        using HttpClient client = await cluster.ClientAsync("http-long");
        string prompt = string.Concat(Enumerable.Repeat(letter, count));
        string json = JsonSerializer.Serialize(new { prompt, steps = 1 });
        foreach (string path in new[] { ApiCalls.Images, "/v1/generations" })
        {
            using HttpResponseMessage answer = await client.SendAsync(HttpMethod.Post, path, json);
            if (fits)
            {
                Assert.True(answer.IsSuccessStatusCode, $"{answer.StatusCode}");
                continue;
            }

            (_, string? param, string message) = await Task.FromResult(answer).ErrorAsync(HttpStatusCode.BadRequest);
            Assert.Equal("prompt", param);
            Assert.Contains(
                count > 32_000 ? "32001 characters, counted as Unicode code points; it may have at most 32000"
                    : "57348 bytes as UTF-8; they may take at most 57344", message, StringComparison.Ordinal);
        }
    }

    // These models' text encoder takes 75 tokens, and every letter is one.
    [Fact]
    public async Task PromptThatIsCut_IsReportedInEveryAnswer()
    {
        using HttpClient client = await cluster.ClientAsync("http-cut");
        string fits = $"{new string('a', 70)} abcde", cut = $"{fits} A Whale \ud83d\udc33";
        foreach ((string prompt, bool isCut) in new[] { (fits, false), (cut, true) })
        {
            string members = $"\"prompt\":{JsonSerializer.Serialize(prompt)},\"negative_prompt\":\"blue\",\"steps\":1";
            JsonElement plain = await client.SendAsync(
                HttpMethod.Post, ApiCalls.Images, $"{{{members},\"n\":2}}").JsonAsync();
            JsonElement streamed = Assert.Single(await client.SendAsync(
                HttpMethod.Post, ApiCalls.Images, $"{{{members},\"stream\":true}}").EventsAsync()).Data;
            string id = plain.GetProperty("data")[0].Text("id");
            JsonElement native = await client.SendAsync(HttpMethod.Get, $"/v1/generations/{id}").JsonAsync();
            foreach (JsonElement answer in new[] { plain, streamed, native })
            {
                JsonElement tokens = answer.GetProperty("prompt_tokens"), negative = answer.GetProperty(
                    "negative_prompt_tokens");
                Assert.Equal(
                    (isCut ? 85 : 75, 75),
                    (tokens.GetProperty("given").GetInt32(), tokens.GetProperty("used").GetInt32()));
                Assert.Equal(isCut ? "a whale \ud83d\udc33" : null, tokens.GetProperty("cut_at").GetString());
                Assert.Equal(negative.GetProperty("given").GetInt32(), negative.GetProperty("used").GetInt32());
                Assert.Equal(JsonValueKind.Null, negative.GetProperty("cut_at").ValueKind);
            }

            int input = 75 + native.GetProperty("negative_prompt_tokens").GetProperty("used").GetInt32();
            Assert.Equal(2 * input, plain.GetProperty("usage").GetProperty("input_tokens").GetInt32());
            Assert.Equal(input, streamed.GetProperty("usage").GetProperty("input_tokens").GetInt32());
        }

        JsonElement waiting;
        using (cluster.Device.HoldAfter(0))
        {
            waiting = await client.SendAsync(HttpMethod.Post, "/v1/generations", """{"prompt":"a"}""")
                .JsonAsync(HttpStatusCode.Accepted);
        }

        Assert.Equal(JsonValueKind.Null, waiting.GetProperty("prompt_tokens").ValueKind);
        JsonElement model = await client.SendAsync(HttpMethod.Get, "/v1/models/first").JsonAsync();
        Assert.Equal(75, model.GetProperty("prompt_tokens_max").GetInt32());
    }

    private static async Task<HttpResponseMessage> SendAsync(
        HttpClient client, string path, string encoding, byte[] body)
    {
        var content = new ByteArrayContent(body);
        content.Headers.TryAddWithoutValidation("Content-Type", "application/json");
        content.Headers.TryAddWithoutValidation("Content-Encoding", encoding);
        return await client.PostAsync(path, content, ApiCluster.Cancellation);
    }

    private static byte[] Packed(string encoding, byte[] body)
    {
        var packed = new MemoryStream();
        using (Stream packer = encoding.ToUpperInvariant() switch
        {
            "GZIP" or "X-GZIP" => new GZipStream(packed, CompressionLevel.SmallestSize),
            "BR" => new BrotliStream(packed, CompressionLevel.Fastest),
            "DEFLATE" => new ZLibStream(packed, CompressionLevel.SmallestSize),
            _ => packed,
        })
        {
            packer.Write(body);
        }

        return packed.ToArray();
    }

    /// <summary>A catalog of one model, which is known by its name only.</summary>
    public class NamedCatalog : DispatchProxy
    {
        internal ModelCard Card { get; set; } = null!;

        protected override object Invoke(MethodInfo? targetMethod, object?[]? args) =>
            Task.FromResult(args is [string name] && name == Card.Name ? Card : null);
    }

    /// <summary>Returns one grain for every key.</summary>
    public class OneGrain : DispatchProxy
    {
        internal object Grain { get; set; } = null!;

        protected override object Invoke(MethodInfo? targetMethod, object?[]? args) => Grain;
    }
}
