// Goal: panels are drawn beside the training, with the pixels of the same requests to the published checkpoint; the
// models that draw them are in no list, and are gone afterwards. Method: a cluster that trains a toy stage with panels.
using System.Net;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Grains;
using Atelier.Grains.Tests;
using Atelier.Model.Imaging;
using Atelier.Silo.Tests.Api.Admin;
using Xunit;

namespace Atelier.Silo.Tests.Api.Training;

public sealed class PanelCluster : TrainedCluster
{
    protected override bool Draws => true;

    protected override string Panel =>
        "panel: {prompts: [red, a blue cat, red red], encoders: none, interval: 4ba, sampling_steps: 2, "
        + "guidance_scale: 2, seed: 9, score: clip}\n";
}

public sealed class PanelTests(PanelCluster trained) : IClassFixture<PanelCluster>
{
    private static readonly string[] s_prompts = ["red", "a blue cat", "red red"];

    private ApiCluster Api => trained.Api;

    [Fact]
    public async Task PanelsAreDrawn_WithThePixelsOfOrdinaryPictures_AndTheirModelsAreGone()
    {
        using HttpClient admin = Api.Admin(), client = await Api.ClientAsync("publish");
        JsonElement stage = await DrawnAsync(admin);
        JsonElement[] panels = [.. stage.GetProperty("panels").EnumerateArray()];
        int skipped = stage.GetProperty("notes").EnumerateArray().Count(
            note => note.Text("text").StartsWith("panel skipped", StringComparison.Ordinal));
        Assert.Equal(3, panels.Length + skipped);
        Assert.Equal(4, panels[0].GetProperty("step").GetInt64());
        Assert.All(panels, panel => Assert.InRange(panel.GetProperty("score").GetDouble(), 0, 100));

        // The same requests to the published checkpoint.
        JsonElement published = await admin.SendAsync(
            HttpMethod.Post, "/v1/training/runs/toy/publish", """{"name":"published","step":12}""").JsonAsync();
        var digest = new ModelDigest(published.Text("digest"));
        await Eventually.TrueAsync(async () => await Api.Grains.Catalog().FindAsync(digest.Value) is not null);
        var pictures = new List<RgbImage>();
        foreach (string prompt in s_prompts)
        {
            pictures.Add(ImageCodec.Decode(await trained.DrawAsync($"same-{pictures.Count}", new GenerationSpec
            {
                Model = digest, Prompt = prompt, Seed = 9, Steps = 2, Guidance = 2, Width = 16, Height = 16,
            })));
        }

        byte[] png = await admin.GetByteArrayAsync(
            new Uri("/v1/training/runs/toy/stages/0/panels/12.png", UriKind.Relative), ApiCluster.Cancellation);
        RgbImage sheet = ImageCodec.Decode(png), expected = PictureSheet.Join(pictures, 8);
        Assert.Equal((expected.Width, expected.Height), (sheet.Width, sheet.Height));
        Assert.Equal(expected.Pixels, sheet.Pixels);
        string report = await admin.GetStringAsync(
            new Uri("/v1/training/runs/toy/stages/0/report", UriKind.Relative), ApiCluster.Cancellation);
        Assert.Contains("![The panel of step 12](panels/12.png)", report, StringComparison.Ordinal);
        await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/toy/stages/0/panels/5.png")
            .ErrorAsync(HttpStatusCode.NotFound);
        await client.SendAsync(HttpMethod.Get, "/v1/training/runs/toy/stages/0/panels/12.png")
            .ErrorAsync(HttpStatusCode.Forbidden);

        // The models of panels take no requests, and are withdrawn; so are the pictures.
        await Eventually.TrueAsync(async () => (await Api.Grains.PublishedModels().ListAsync())
            .Where(model => model.Name.StartsWith(PublishedModel.PanelPrefix, StringComparison.Ordinal))
            .All(model => model.IsWithdrawn));
        await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"red","model":"panels/toy/0/12","steps":2}""")
            .ErrorAsync(HttpStatusCode.NotFound);
        JsonElement list = await client.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
        Assert.DoesNotContain(
            list.GetProperty("data").EnumerateArray(),
            one => one.Text("id").StartsWith("panels/", StringComparison.Ordinal));
        string[] kept = await Api.Blobs().ListAsync(ApiCluster.Cancellation)
            .Where(blob => blob.Name.Value.Contains("training-panels", StringComparison.Ordinal))
            .Select(blob => blob.Name.Value).ToArrayAsync(ApiCluster.Cancellation);
        Assert.Empty(kept);
    }

    // While a panel's model is published, it is found by no request.
    [Fact]
    public async Task AModelOfAPanel_IsInNoList_AndNobodyElseTakesItsName()
    {
        using HttpClient admin = Api.Admin();
        await DrawnAsync(admin);
        await admin.SendAsync(
            HttpMethod.Post, "/v1/training/runs/toy/publish", """{"name":"known","step":8}""").JsonAsync();
        PublishedModel known = (await Api.Grains.PublishedModels().FindAsync("known"))!;
        await Eventually.TrueAsync(async () => await Api.Grains.Catalog().FindAsync(known.Digest.Value) is not null);
        await Api.Grains.PublishedModels().WithdrawAsync("known");
        await Api.Grains.PublishedModels().PublishAsync(
            known with { ExpiresAt = DateTimeOffset.UtcNow.AddHours(1) });
        Assert.NotNull(await Api.Grains.PublishedModels().FindAsync("known"));
        await admin.SendAsync(HttpMethod.Get, "/v1/models/known").ErrorAsync(HttpStatusCode.NotFound);
        JsonElement list = await admin.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
        Assert.DoesNotContain(list.GetProperty("data").EnumerateArray(), one => one.Text("id") == "known");
        (_, _, string message) = await admin.SendAsync(
            HttpMethod.Post, "/v1/training/runs/toy/publish", """{"name":"panels/toy/0/8"}""")
            .ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Contains("must not start with panels/", message, StringComparison.Ordinal);
    }

    private static async Task<JsonElement> DrawnAsync(HttpClient admin)
    {
        JsonElement stage = default;
        await Eventually.TrueAsync(async () =>
        {
            JsonElement run = await admin.SendAsync(HttpMethod.Get, "/v1/training/runs/toy").JsonAsync();
            stage = run.GetProperty("stages")[0];
            return stage.GetProperty("panels").EnumerateArray().Any(one => one.GetProperty("step").GetInt64() == 12);
        });
        return stage;
    }
}
