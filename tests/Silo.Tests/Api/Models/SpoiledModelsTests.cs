// Goal: a model with a part that returns NaN is the server's fault: a 500 that names the part, no picture, and other
// models continue to draw. Method: requests over HTTP against a separate cluster, whose device has spoiled models too.
using System.Net;
using System.Text.Json;
using Atelier.Contracts.Models;
using Atelier.Grains.Generations;
using Atelier.Model;
using Atelier.Silo.Tests.Devices;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Silo.Tests.Api.Models;

public sealed class SpoiledModelsTests
{
    private static readonly string[] s_parts = [ModelParts.TextEncoder, ModelParts.Denoiser, ModelParts.Decoder];

    [Fact]
    public async Task APartThatReturnsNaN_IsA500WithItsName_AndNoPicture()
    {
        await using var cluster = new ApiCluster
        {
            Models = [ApiCluster.Default, .. s_parts.Select(TinyModels.Spoiled)],
            // A second attempt would fail in the same way, one lease later.
            Configure = services => services.Configure<GenerationOptions>(options => options.FailuresMax = 1),
        };
        await cluster.InitializeAsync();
        using HttpClient client = await cluster.ClientAsync("spoiled");
        foreach (string part in s_parts)
        {
            string sentence = $"The {part} of the model spoiled {part} gave NaN instead of a finite number.";
            IModelCatalogGrain catalog = cluster.Grains.GetGrain<IModelCatalogGrain>(0);
            Assert.True(await catalog.RegisterAsync(TinyModels.Spoiled(part).Card));
            (string code, string? param, string message) = await client.SendAsync(
                HttpMethod.Post, ApiCalls.Images, $$"""{"prompt":"red","model":"spoiled {{part}}","steps":2}""")
                .ErrorAsync(HttpStatusCode.InternalServerError);
            Assert.Equal(("non_finite", null, sentence), (code, param, message));

            string id = part.Replace(' ', '-'), path = $"/v1/generations/{id}";
            await client.SendAsync(
                HttpMethod.Post, "/v1/generations",
                $$"""{"id":"{{id}}","prompt":"red","model":"spoiled {{part}}","steps":2,"previews":1}""")
                .JsonAsync(HttpStatusCode.Accepted);
            List<SentEvent> events = await client.SendAsync(HttpMethod.Get, path + "/events").EventsAsync();
            Assert.Equal("failed", events[^1].Name);
            Assert.All(events, one => Assert.NotEqual(JsonValueKind.String, one.Data.GetProperty("preview").ValueKind));
            JsonElement failed = await client.SendAsync(HttpMethod.Get, path).JsonAsync();
            Assert.Equal(JsonValueKind.Null, failed.GetProperty("picture").ValueKind);
            JsonElement error = failed.GetProperty("error");
            Assert.Equal(("non_finite", sentence), (error.Text("code"), error.Text("message")));
        }

        JsonElement drawn = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"red","steps":2}""").JsonAsync();
        Assert.Single(drawn.GetProperty("data").EnumerateArray());
    }
}
