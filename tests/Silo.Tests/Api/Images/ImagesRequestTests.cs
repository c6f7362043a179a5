// Goal: a body of the images route is read as its API description says, and a wrong member is named. Method: tables of
// bodies; only the parser runs.
using System.Text;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Images;
using Atelier.Silo.Api.Pictures;
using Xunit;

namespace Atelier.Silo.Tests.Api.Images;

public sealed class ImagesRequestTests
{
    public static TheoryData<string, string, string> Wrong()
    {
        var rows = new TheoryData<string, string, string>
        {
            { """{}""", "prompt", "missing_required_parameter" },
            { """{"prompt":null}""", "prompt", "missing_required_parameter" },
            { """{"prompt":"  "}""", "prompt", "invalid_value" },
            { """{"prompt":5}""", "prompt", "invalid_type" },
            { """{"prompt":"\ud800"}""", "prompt", "invalid_value" },
            { $$"""{"prompt":"{{new string('a', 32_001)}}"}""", "prompt", "invalid_value" },
            { With("background", "\"transparent\""), "background", "unsupported_value" },
            { With("output_compression", "50"), "output_compression", "invalid_value" },
            { With("promt", "\"a\""), "promt", "unknown_parameter" },
            { With("seeds", "1"), "seeds", "unknown_parameter" },
            { With("user", $"\"{new string('a', 1025)}\""), "user", "invalid_value" },
        };
        string[] words = [
            "model", "size", "quality", "response_format", "output_format", "background", "moderation", "style", "user",
            "negative_prompt", "on_disconnect"];
        foreach (string name in words)
        {
            foreach (string value in new[] { "1", "true", "{}", "[\"a\"]" })
            {
                rows.Add(With(name, value), name, "invalid_type");
            }

            rows.Add(With(name, "\"\\udc00\""), name, "invalid_value");
        }

        foreach (string name in new[] { "quality", "response_format", "output_format", "background", "moderation",
            "style", "on_disconnect" })
        {
            rows.Add(With(name, "\"\""), name, "invalid_value");
            rows.Add(With(name, "\"other\""), name, "invalid_value");
            rows.Add(With(name, "\"LOW\""), name, "invalid_value");
        }

        (string Name, string[] Values)[] numbers =
        [
            ("n", ["0", "11", "-1", "1.5", "1e400", "99999999999999999999"]), ("partial_images", ["-1", "4", "0.5"]),
            ("output_compression", ["-1", "101", "1e2"]), ("steps", ["0", "1001", "-3", "2.5"]),
            ("guidance", ["0.5", "101", "-1", "1e400"]), ("seed", ["-1", "18446744073709551616", "1.5"]),
        ];
        foreach ((string name, string[] values) in numbers)
        {
            foreach (string value in values)
            {
                rows.Add(With(name, value), name, "invalid_value");
            }

            foreach (string value in name == "seed" ? ["true", "{}", "[]"] : new[] { "\"1\"", "true", "{}", "[]" })
            {
                rows.Add(With(name, value), name, "invalid_type");
            }
        }

        foreach (string value in new[] { "1", "\"true\"", "{}", "[]" })
        {
            rows.Add(With("stream", value), "stream", "invalid_type");
        }

        foreach (string value in new[] { "\"-1\"", "\"1 \"", "\"0x1\"", "\"\"" })
        {
            rows.Add(With("seed", value), "seed", "invalid_value");
        }

        return rows;
    }

    [Theory]
    [MemberData(nameof(Wrong))]
    public void WrongMember_IsNamed(string body, string param, string code)
    {
        ApiError error = Assert.Throws<ApiException>(() => Parse(body)).Error;
        Assert.Equal((400, param, code), (error.Status, error.Param, error.Code));
        Assert.Contains($"'{param}'", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("nonsense")]
    [InlineData("""{"prompt":"a","prompt":"b"}""")]
    [InlineData("""{"prompt":"a","PROMPT":"b"}""")]
    [InlineData("""{"prompt":"a",}""")]
    [InlineData("""{"prompt":"a"} {}""")]
    [InlineData("""{"prompt":"a" /* no */}""")]
    [InlineData("""{"prompt":NaN}""")]
    [InlineData("""{"\ud800":1,"prompt":"a"}""")]
    [InlineData("""{"prompt":[[[[[[[[[[[["a"]]]]]]]]]]]]}""")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("\"prompt\"")]
    public void BodyThatIsNotAnObject_IsRefused(string body) =>
        Assert.Equal(400, Assert.Throws<ApiException>(() => Parse(body)).Error.Status);

    [Fact]
    public void BytesThatAreNotText_AreRefused()
    {
        byte[] body = Encoding.UTF8.GetBytes("""{"prompt":"aa"}""");
        body[^4] = 0xFF;
        ApiError error = Assert.Throws<ApiException>(() => ImagesRequest.Parse(body)).Error;
        Assert.Equal(400, error.Status);
    }

    [Theory]
    [InlineData("promt", "prompt")]
    [InlineData("negativePrompt", "negative_prompt")]
    [InlineData("sized", "size")]
    [InlineData("partial_image", "partial_images")]
    public void UnknownMember_IsReportedWithTheNearestOne(string name, string nearest)
    {
        string message = Assert.Throws<ApiException>(() => Parse(With(name, "1"))).Error.Message;
        Assert.EndsWith($"Did you mean '{nearest}'?", message, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryMemberThatIsNull_CountsAsAbsent()
    {
        IEnumerable<string> nulls = ApiJson.MembersOf<CreateImagesRequest>().Where(name => name != "prompt").Select(
            name => $"\"{name}\":null");
        Assert.Equal(Parse("""{"prompt":"a"}"""), Parse($$"""{"prompt":"a",{{string.Join(',', nulls)}}}"""));
    }

    [Fact]
    public void EveryMember_IsRead()
    {
        ImagesRequest request = Parse("""
            {"prompt":"a","model":"m","n":10,"size":"32x32","quality":"hd","response_format":"b64_json",
             "output_format":"webp","output_compression":7,"background":"opaque","moderation":"low","stream":true,
             "partial_images":3,"style":"natural","user":"u","seed":18446744073709551615,"steps":9,"guidance":2.5,
             "negative_prompt":"b","on_disconnect":"keep"}
            """);
        var expected = new ImagesRequest
        {
            Drawing = new DrawingRequest
            {
                Prompt = "a", Model = "m", Negative = "b", Seed = ulong.MaxValue, Steps = 9, Guidance = 2.5,
                Size = "32x32",
            },
            Images = 10, Quality = "high", AsLinks = false, Format = new PictureFormat("webp", 7), Stream = true,
            Partials = 3,
            CancelOnDisconnect = false,
        };
        Assert.Equal(expected, request);
    }

    [Theory]
    [InlineData("""{"prompt":"a"}""", "png", 100)]
    [InlineData("""{"prompt":"a","output_format":"jpeg"}""", "jpeg", 100)]
    [InlineData("""{"prompt":"a","output_format":"webp","output_compression":0}""", "webp", 0)]
    [InlineData("""{"prompt":"a","output_format":"jpeg","output_compression":100}""", "jpeg", 100)]
    public void Format_IsPng_AndTheBestQuality_UnlessItIsGiven(string body, string format, int quality) =>
        Assert.Equal(new PictureFormat(format, quality), Parse(body).Format);

    [Theory]
    [InlineData("low", "low", 0.5)]
    [InlineData("medium", "medium", 1)]
    [InlineData("standard", "medium", 1)]
    [InlineData("auto", "medium", 1)]
    [InlineData("high", "high", 2)]
    [InlineData("hd", "high", 2)]
    public void Quality_MapsToSteps(string sent, string shown, double effort)
    {
        ImagesRequest request = Parse(With("quality", $"\"{sent}\""));
        Assert.Equal((shown, effort), (request.Quality, request.Effort));
    }

    [Theory]
    [InlineData(""", "n":1""", true)]
    [InlineData(""", "model":"dall-e-3" """, true)]
    [InlineData(""", "model":"gpt-image-1" """, false)]
    [InlineData(""", "model":"gpt-image-1","response_format":"url" """, true)]
    [InlineData(""", "response_format":"b64_json" """, false)]
    public void ResponseFormat_IsTheDocumentsUnlessItIsGiven(string members, bool asLinks) =>
        Assert.Equal(asLinks, Parse($$"""{"prompt":"a"{{members}}}""").AsLinks);

    [Fact]
    public void RandomBodies_AreReadOrRefusedAndNothingElse()
    {
        byte[] good = Encoding.UTF8.GetBytes(
            """{"prompt":"a\u00e9\ud83d\ude00","n":2,"size":"32x32","seed":"7","guidance":1e1,"stream":false"""
            + ""","user":null}""");
        var random = new Random(20260729);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] body = [.. good];
            for (int changes = random.Next(1, 4); changes > 0; changes--)
            {
                body[random.Next(body.Length)] = (byte)random.Next(256);
            }

            try
            {
                ImagesRequest.Parse(body.AsMemory(0, random.Next(4) == 0 ? random.Next(body.Length) : body.Length));
            }
            catch (ApiException error)
            {
                // Every parsed result can be written.
                Assert.NotEmpty(System.Text.Json.JsonSerializer.Serialize(error.Error.Body, ApiJson.Options));
            }
        }
    }

    private static string With(string name, string value) => $$"""{"prompt":"a","{{name}}":{{value}}}""";

    private static ImagesRequest Parse(string body) => ImagesRequest.Parse(Encoding.UTF8.GetBytes(body));
}
