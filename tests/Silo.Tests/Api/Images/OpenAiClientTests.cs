// Goal: OpenAI's own client works unchanged. Method: the official .NET client against the API, with its calls signed on
// the way as a gateway would.
using System.ClientModel;
using System.ClientModel.Primitives;
using System.Net.ServerSentEvents;
using System.Text.Json;
using Atelier.Contracts.Generations;
using Atelier.Silo.Tests.Devices;
using OpenAI;
using OpenAI.Images;
using OpenAI.Models;
using Xunit;

namespace Atelier.Silo.Tests.Api.Images;

[Collection(nameof(ApiCluster))]
public sealed class OpenAiClientTests(ApiCluster cluster)
{
    [Fact]
    public async Task Client_GeneratesOneAndSeveral()
    {
        ImageClient images = (await ClientAsync()).GetImageClient("gpt-image-1");
        GeneratedImage one = await images.GenerateImageAsync(
            "a red square", cancellationToken: ApiCluster.Cancellation);
        Assert.Equal(0x89, one.ImageBytes.ToArray()[0]);
        GeneratedImageCollection several = await images.GenerateImagesAsync(
            "a red square", 2, cancellationToken: ApiCluster.Cancellation);
        Assert.Equal(2, several.Select(image => Convert.ToBase64String(image.ImageBytes)).Distinct().Count());

        ImageClient linked = (await ClientAsync()).GetImageClient("dall-e-3");
        GeneratedImage link = await linked.GenerateImageAsync(
            "a red square",
            new ImageGenerationOptions
            {
                ResponseFormat = GeneratedImageFormat.Uri, Style = GeneratedImageStyle.Vivid,
                EndUserId = "u"
            },
            ApiCluster.Cancellation);
        using HttpClient anybody = cluster.As(null);
        Assert.Equal(0x89, (await anybody.GetByteArrayAsync(link.ImageUri, ApiCluster.Cancellation))[0]);
    }

    [Fact]
    public async Task Client_ReadsTheStream()
    {
        ImageClient images = (await ClientAsync()).GetImageClient("gpt-image-1");
        using BinaryContent body = BinaryContent.Create(
            BinaryData.FromString("""{"prompt":"red","seed":3,"steps":8,"stream":true,"partial_images":2}"""));
        ClientResult result = await images.GenerateImagesAsync(
            body, new RequestOptions { BufferResponse = false, CancellationToken = ApiCluster.Cancellation });
        List<JsonElement> events = [];
        await foreach (
            SseItem<string> item in SseParser.Create(result.GetRawResponse().ContentStream!).EnumerateAsync(
                ApiCluster.Cancellation))
        {
            events.Add(JsonDocument.Parse(item.Data).RootElement);
            Assert.Equal(item.EventType, events[^1].Text("type"));
        }

        Assert.Equal(3, events.Count);
        GenerationSpec spec = TinyModels.Spec(
            ApiCluster.Default) with
        { Prompt = "red", Negative = "", Seed = 3, Steps = 8 };
        Assert.Equal(
            TinyModels.Expected(ApiCluster.Default, spec), events[^1].GetProperty("b64_json").GetBytesFromBase64());
    }

    [Fact]
    public async Task Client_UnderstandsErrors()
    {
        ImageClient images = (await ClientAsync()).GetImageClient("gpt-image-1");
        ClientResultException size = await Assert.ThrowsAsync<ClientResultException>(() => images.GenerateImageAsync(
            "a", new ImageGenerationOptions { Size = GeneratedImageSize.W1024xH1024 }, ApiCluster.Cancellation));
        Assert.Equal(400, size.Status);
        Assert.Contains("32x32", size.Message, StringComparison.Ordinal);
        ImageClient unknown = (await ClientAsync()).GetImageClient("nothing");
        Assert.Equal(
            404, (await Assert.ThrowsAsync<ClientResultException>(() =>
                unknown.GenerateImageAsync("a", cancellationToken: ApiCluster.Cancellation))).Status);
        OpenAIClient stranger = Client(cluster.As(null));
        Assert.Equal(
            401, (await Assert.ThrowsAsync<ClientResultException>(() =>
                stranger.GetOpenAIModelClient().GetModelsAsync(ApiCluster.Cancellation))).Status);
    }

    [Fact]
    public async Task Client_ListsModels()
    {
        OpenAIModelClient models = (await ClientAsync()).GetOpenAIModelClient();
        Assert.Contains(
            "first", (await models.GetModelsAsync(ApiCluster.Cancellation)).Value.Select(model => model.Id));
        Assert.Equal("first", (await models.GetModelAsync("gpt-image-1", ApiCluster.Cancellation)).Value.Id);
    }

    private async Task<OpenAIClient> ClientAsync() => Client(await cluster.ClientAsync("openai"));

    private OpenAIClient Client(HttpClient http) => new(
        new ApiKeyCredential("none"),
        new OpenAIClientOptions
        {
            Endpoint = new Uri(cluster.Address, "/v1"),
            Transport = new HttpClientPipelineTransport(http)
        });
}
