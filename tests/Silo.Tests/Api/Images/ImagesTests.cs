// Goal: the images route draws what the command line draws, in every form that a client may ask for, and cancels, keeps
// and joins as promised. Method: requests over HTTP against a cluster in one process.
using System.Net;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Grains;
using Atelier.Grains.Tests;
using Atelier.Model.Imaging;
using Atelier.Silo.Tests.Devices;
using Microsoft.AspNetCore.Builder;
using Xunit;

namespace Atelier.Silo.Tests.Api.Images;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
[Collection(nameof(ApiCluster))]
public sealed class ImagesTests(ApiCluster cluster)
{
    [Fact]
    public async Task Generate_WithoutAnythingButAPrompt_GivesLinksToTheDefaultModelsPicture()
    {
        using HttpClient client = await cluster.ClientAsync("images-plain");
        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a red square","seed":7}""").JsonAsync();
        Assert.Equal(("32x32", "medium", "opaque", "png"), (
            answer.Text("size"), answer.Text("quality"), answer.Text("background"), answer.Text("output_format")));
        JsonElement image = Assert.Single(answer.GetProperty("data").EnumerateArray());
        Assert.False(image.TryGetProperty("b64_json", out _));
        var link = new Uri(image.Text("url"));
        Assert.Equal(cluster.Address.Authority, link.Authority);

        // The link needs no ticket, and its file may be cached.
        using HttpClient anybody = cluster.As(null);
        using HttpResponseMessage file = await anybody.GetAsync(link, ApiCluster.Cancellation);
        Assert.Equal("image/png", file.Content.Headers.ContentType?.MediaType);
        Assert.Equal(
            Expected("a red square", seed: 7), await file.Content.ReadAsByteArrayAsync(ApiCluster.Cancellation));
        JsonElement usage = answer.GetProperty("usage");
        Assert.Equal((8, 5, 13),
            (usage.GetProperty("input_tokens").GetInt32(), usage.GetProperty("output_tokens").GetInt32(),
                usage.GetProperty("total_tokens").GetInt32()));
    }

    [Fact]
    public async Task Generate_SeveralImages_GivesThemFollowingSeeds()
    {
        using HttpClient client = await cluster.ClientAsync("images-several");
        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images,
            """
            {"model":"gpt-image-1","prompt":"blue","n":3,"seed":18446744073709551615,"steps":2,"guidance":1,
             "negative_prompt":"red"}
            """).JsonAsync();
        JsonElement[] data = [.. answer.GetProperty("data").EnumerateArray()];
        Assert.Equal([ulong.MaxValue, 0UL, 1UL], data.Select(image => image.GetProperty("seed").GetUInt64()));
        foreach (JsonElement image in data)
        {
            GenerationSpec spec = Spec(
                "blue", image.GetProperty("seed").GetUInt64()) with
            { Steps = 2, Guidance = 1, Negative = "red" };
            Assert.Equal(
                TinyModels.Expected(ApiCluster.Default, spec), image.GetProperty("b64_json").GetBytesFromBase64());
        }
    }

    // Two steps of a picture are three evaluations. If the client leaves before the first, each picture that a worker
    // has begun counts with one step of eight.
    [Fact]
    public async Task TenImages_AreChargedForWhatWasComputed()
    {
        const string Tenant = "images-ten";
        using HttpClient client = await cluster.ClientAsync(Tenant);
        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"ten","n":10,"steps":2}""").JsonAsync();
        Assert.Equal(10, answer.GetProperty("data").GetArrayLength());
        Assert.Equal(30, answer.GetProperty("usage").GetProperty("output_tokens").GetInt32());
        Assert.Equal(30, await ChargedAsync());

        const string Left = """{"prompt":"left","n":10,"steps":8}""";
        using (cluster.Device.HoldAfter(0))
        {
            using var leaving = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
            using HttpContent content = ApiCalls.Json(Left);
            Task<HttpResponseMessage> waiting = client.PostAsync(ApiCalls.Images, content, leaving.Token);
            GenerationId first = await RememberedAsync(Tenant, Left);
            await UntilAsync(Tenant, new GenerationId($"{first}-9"), view => view is not null);
            await leaving.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
            Assert.InRange(await ChargedAsync(), 30, 30 + (10 * 2));
        }

        async Task<long> ChargedAsync()
        {
            while (true)
            {
                TenantView view = (await cluster.Grains.Tenant(new TenantId(Tenant)).ViewAsync())!;
                if (view.Open == 0)
                {
                    return view.EvaluationsToday;
                }

                await Task.Delay(10, ApiCluster.Cancellation);
            }
        }
    }

    [Theory]
    [InlineData("jpeg", 100)]
    [InlineData("webp", 0)]
    public async Task Generate_InAnotherFormat_GivesThatFormat(string format, int compression)
    {
        using HttpClient client = await cluster.ClientAsync("images-format");
        string json =
            $$"""
            {"prompt":"green","seed":1,"output_format":"{{format}}","output_compression":{{compression}},
             "response_format":"RF"}
            """;
        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, json.Replace("RF", "b64_json", StringComparison.Ordinal)).JsonAsync();
        byte[] file = answer.GetProperty("data")[0].GetProperty("b64_json").GetBytesFromBase64();
        Assert.Equal(format, answer.Text("output_format"));
        RgbImage picture = ImageCodec.Decode(Expected("green", 1));
        Assert.Equal(format == "jpeg" ? ImageCodec.EncodeJpeg(picture, 100) : ImageCodec.EncodeWebp(picture, 1), file);

        JsonElement linked = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, json.Replace("RF", "url", StringComparison.Ordinal)).JsonAsync();
        using HttpClient anybody = cluster.As(null);
        using HttpResponseMessage response = await anybody.GetAsync(
            linked.GetProperty("data")[0].Text("url"), ApiCluster.Cancellation);
        Assert.Equal($"image/{format}", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal(file, await response.Content.ReadAsByteArrayAsync(ApiCluster.Cancellation));
    }

    [Theory]
    [InlineData("low", 2)]
    [InlineData("hd", 6)]
    public async Task Quality_IsSteps(string quality, int steps)
    {
        using HttpClient client = await cluster.ClientAsync("images-quality");
        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, $$"""{"prompt":"a","quality":"{{quality}}","size":"auto"}""").JsonAsync();
        JsonElement generation = await client.SendAsync(
            HttpMethod.Get, $"/v1/generations/{answer.GetProperty("data")[0].Text("id")}").JsonAsync();
        Assert.Equal(steps, generation.GetProperty("steps").GetInt32());
    }

    [Fact]
    public async Task Stream_GivesRealPreviewsAndThePicture()
    {
        using HttpClient client = await cluster.ClientAsync("images-stream");
        List<SentEvent> events = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images,
            """{"prompt":"red","seed":3,"steps":8,"stream":true,"partial_images":3}""").EventsAsync();
        Assert.Equal(
            ["image_generation.partial_image", "image_generation.partial_image", "image_generation.partial_image",
                "image_generation.completed"],
            events.Select(one => one.Name));
        Assert.All(events, one => Assert.Equal(one.Name, one.Data.Text("type")));
        Assert.Equal([0, 1, 2], events.SkipLast(1).Select(
            one => one.Data.GetProperty("partial_image_index").GetInt32()));
        string[] both = ["type", "b64_json", "created_at", "size", "quality", "background", "output_format"];
        Assert.All(events, one =>
            Assert.Superset(both.ToHashSet(), one.Data.EnumerateObject().Select(member => member.Name).ToHashSet()));
        Assert.All(events, one => Assert.False(one.Data.TryGetProperty("image_index", out _)));
        Assert.Equal(
            TinyModels.Expected(ApiCluster.Default, Spec("red", 3) with { Steps = 8 }),
            events[^1].Data.GetProperty("b64_json").GetBytesFromBase64());
        Assert.All(events.SkipLast(1), one =>
            Assert.Equal((32, 32), ImageCodec.ReadSize(one.Data.GetProperty("b64_json").GetBytesFromBase64())));
        Assert.Equal(4, events.Select(one => one.Data.Text("b64_json")).Distinct().Count());
        Assert.Equal(15, events[^1].Data.GetProperty("usage").GetProperty("output_tokens").GetInt32());
    }

    [Fact]
    public async Task Stream_OfSeveralImages_SaysWhichOneEachEventIsOf()
    {
        using HttpClient client = await cluster.ClientAsync("images-streams");
        List<SentEvent> events = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"red","seed":3,"n":2,"stream":true,"partial_images":1}""")
                .EventsAsync();
        Assert.Equal(4, events.Count);
        foreach (int image in new[] { 0, 1 })
        {
            SentEvent[] own = [.. events.Where(one => one.Data.GetProperty("image_index").GetInt32() == image)];
            Assert.Equal(["image_generation.partial_image", "image_generation.completed"], own.Select(one => one.Name));
            Assert.Equal(Expected("red", 3 + (ulong)image), own[^1].Data.GetProperty("b64_json").GetBytesFromBase64());
        }
    }

    [Fact]
    public async Task Stream_WithoutPreviews_IsThePictureAlone()
    {
        using HttpClient client = await cluster.ClientAsync("images-nopreviews");
        foreach (string partials in new[] { "0", "null" })
        {
            SentEvent only = Assert.Single(await client.SendAsync(
                HttpMethod.Post, ApiCalls.Images, $$"""{"prompt":"red","stream":true,"partial_images":{{partials}}}""")
                    .EventsAsync());
            Assert.Equal("image_generation.completed", only.Name);
        }
    }

    [Fact]
    public async Task UnsupportedValues_AreRefusedWithTheSupportedOnes()
    {
        using HttpClient client = await cluster.ClientAsync("images-refused");
        (string Code, string? Param, string Message) size = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","size":"1024x1024"}""").ErrorAsync(
                HttpStatusCode.BadRequest);
        Assert.Equal(("invalid_value", "size"), (size.Code, size.Param));
        Assert.Contains("auto or one of 32x32", size.Message, StringComparison.Ordinal);
        (string Code, string? Param, string _) model = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","model":"gpt-image-7"}""").ErrorAsync(
                HttpStatusCode.NotFound);
        Assert.Equal(("model_not_found", "model"), (model.Code, model.Param));
        (string Code, string? Param, string _) unknown = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","promt":"b","stream":true}""").ErrorAsync(
                HttpStatusCode.BadRequest);
        Assert.Equal(("unknown_parameter", "promt"), (unknown.Code, unknown.Param));
    }

    [Fact]
    public async Task Limits_AreReportedWithRetryAfter()
    {
        using HttpClient few = await cluster.ClientAsync("images-few", new TenantSettings { RequestsPerMinute = 1 });
        await few.SendAsync(HttpMethod.Post, ApiCalls.Images, """{"prompt":"a"}""").JsonAsync();
        using HttpResponseMessage limited = await few.SendAsync(HttpMethod.Post, ApiCalls.Images, """{"prompt":"b"}""");
        Assert.Equal(
            "rate_limit_exceeded", (await Task.FromResult(limited).ErrorAsync(HttpStatusCode.TooManyRequests)).Code);
        Assert.InRange(limited.Headers.RetryAfter!.Delta!.Value, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60));

        using HttpClient poor = await cluster.ClientAsync("images-poor", new TenantSettings { EvaluationsPerDay = 4 });
        using HttpResponseMessage spent = await poor.SendAsync(HttpMethod.Post, ApiCalls.Images, """{"prompt":"a"}""");
        Assert.Equal(
            "daily_limit_reached", (await Task.FromResult(spent).ErrorAsync(HttpStatusCode.TooManyRequests)).Code);
        Assert.Equal("false", Assert.Single(spent.Headers.GetValues("x-should-retry")));

        // If a request is rejected in part, nothing of it is left open.
        using HttpClient narrow = await cluster.ClientAsync(
            "images-narrow", new TenantSettings { OpenGenerations = 1 });
        Assert.Equal(
            "too_many_open_generations",
            (await narrow.SendAsync(HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","n":2}""").ErrorAsync(
                HttpStatusCode.TooManyRequests)).Code);
        Assert.Equal(0, (await cluster.Grains.Tenant(new TenantId("images-narrow")).ViewAsync())!.Open);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Disconnect_Cancels_AndKeepsWhereTheRequestSaysSo(bool keep)
    {
        string tenant = keep ? "images-keep" : "images-cancel";
        foreach (bool stream in new[] { false, true })
        {
            using HttpClient client = await cluster.ClientAsync(tenant);
            string json =
                $$"""
                {"prompt":"{{(stream ? "s" : "n")}}","stream":{{(stream ? "true" : "false")}},
                 "on_disconnect":"{{(keep ? "keep" : "cancel")}}","seed":1}
                """;
            GenerationId first;
            using (cluster.Device.HoldAfter(0))
            {
                using var leaving = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
                using var content = ApiCalls.Json(json);
                Task<HttpResponseMessage> waiting = client.PostAsync(ApiCalls.Images, content, leaving.Token);
                first = await RememberedAsync(tenant, json);
                await UntilAsync(tenant, first, view => view is not null);
                await leaving.CancelAsync();
                await Task.WhenAny(waiting);
                Assert.True(waiting.IsCanceled);
                if (!keep)
                {
                    await UntilAsync(tenant, first, view => view!.Phase == GenerationPhase.Cancelled);
                }
            }

            GenerationView end = await UntilAsync(tenant, first, view => view!.EndedAt is not null);
            Assert.Equal(keep ? GenerationPhase.Done : GenerationPhase.Cancelled, end.Phase);
        }
    }

    [Fact]
    public async Task TheSameRequestAgain_JoinsTheFirst_UnlessThatWasCancelled()
    {
        const string Tenant = "images-again";
        const string Json = """{"prompt":"again","n":2,"model":"gpt-image-1"}""";
        using HttpClient client = await cluster.ClientAsync(Tenant);
        (string, string) again = ("X-Stainless-Retry-Count", "1"), fresh = ("X-Stainless-Retry-Count", "0");
        Task<HttpResponseMessage> first, second, other;
        using (cluster.Device.HoldAfter(0))
        {
            first = client.SendAsync(HttpMethod.Post, ApiCalls.Images, Json, fresh);
            GenerationId id = await RememberedAsync(Tenant, Json);
            await UntilAsync(Tenant, new GenerationId($"{id}-1"), view => view is not null);
            second = client.SendAsync(HttpMethod.Post, ApiCalls.Images, Json, again);
            other = client.SendAsync(
                HttpMethod.Post, ApiCalls.Images, Json.Replace("again", "other", StringComparison.Ordinal), again);
        }

        string[] ids = Ids(await first.JsonAsync());
        Assert.Equal(ids, Ids(await second.JsonAsync()));
        Assert.Empty(Ids(await other.JsonAsync()).Intersect(ids));

        // A third retry finds it done, and a client that does not mark its request as a retry gets new pictures.
        Assert.Equal(ids, Ids(await client.SendAsync(HttpMethod.Post, ApiCalls.Images, Json, again).JsonAsync()));
        JsonElement anew = await client.SendAsync(HttpMethod.Post, ApiCalls.Images, Json, fresh).JsonAsync();
        Assert.Empty(Ids(anew).Intersect(ids));

        // The end of the first connection cancelled its images; the second request draws them under new ids from the
        // same seeds.
        await cluster.Grains.Generation(Key(Tenant, Ids(anew)[0])).DeleteAsync();
        JsonElement last = await client.SendAsync(HttpMethod.Post, ApiCalls.Images, Json, again).JsonAsync();
        Assert.Empty(Ids(last).Intersect(Ids(anew)));
        Assert.Equal(Pictures(anew), Pictures(last));
    }

    // Of two clients that wait for the same images at different silos either may disconnect; when both have, the images
    // are cancelled.
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task OfTwoClientsThatWait_EitherMayGo_AndTheLastOneCancels(bool stream, bool retryGoes)
    {
        string tenant = $"images-two-{(stream ? "s" : "n")}{(retryGoes ? "r" : "f")}";
        using HttpClient client = await cluster.ClientAsync(tenant);
        foreach (bool bothGo in new[] { false, true })
        {
            string json =
                $$"""
                {"prompt":"{{(bothGo ? "both" : "one")}}","n":2,"seed":1,"stream":{{(stream ? "true" : "false")}}}
                """;
            WatchedGrains first = WatchedGrains.Over(cluster.Grains), second = WatchedGrains.Over(cluster.Grains);
            await using WebApplication firstSilo = await ApiCluster.ServeAsync(first.Factory, cluster.Blobs());
            await using WebApplication secondSilo = await ApiCluster.ServeAsync(second.Factory, cluster.Blobs());
            using var firstLeaves = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
            using var secondLeaves = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
            Task<string> firstWaits, secondWaits;
            string[] ids;
            using (cluster.Device.HoldAfter(0))
            {
                firstWaits = AnswerAsync(client, firstSilo, json, "0", firstLeaves.Token);
                await first.WatchingAsync(2);
                GenerationId id = await RememberedAsync(tenant, json);
                ids = [id.Value, $"{id}-1"];
                secondWaits = AnswerAsync(client, secondSilo, json, "1", secondLeaves.Token);
                await second.WatchingAsync(2);
                await (retryGoes ? secondLeaves : firstLeaves).CancelAsync();
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => retryGoes ? secondWaits : firstWaits);
                await (retryGoes ? second : first).LeftAsync(2);
                if (bothGo)
                {
                    await (retryGoes ? firstLeaves : secondLeaves).CancelAsync();
                    await (retryGoes ? first : second).LeftAsync(2);
                }
            }

            if (!bothGo)
            {
                Assert.Contains(
                    stream ? "image_generation.completed" : ids[1], await (retryGoes ? firstWaits : secondWaits),
                    StringComparison.Ordinal);
            }

            foreach (string id in ids)
            {
                GenerationView end = await UntilAsync(tenant, new GenerationId(id), view => view!.EndedAt is not null);
                Assert.Equal(bothGo ? GenerationPhase.Cancelled : GenerationPhase.Done, end.Phase);
            }
        }
    }

    // The first client leaves after the second has joined and before the second follows the images.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AClientThatJoined_AsTheFirstOneLeft_IsGivenNewPictures(bool stream)
    {
        string tenant = $"images-left-{(stream ? "s" : "n")}";
        string json =
            $$"""
            {"prompt":"left","n":2,"seed":1,"model":"gpt-image-1","stream":{{(stream ? "true" : "false")}}}
            """;
        using HttpClient client = await cluster.ClientAsync(tenant);
        WatchedGrains first = WatchedGrains.Over(cluster.Grains), second = WatchedGrains.Over(cluster.Grains);
        await using WebApplication firstSilo = await ApiCluster.ServeAsync(first.Factory, cluster.Blobs());
        await using WebApplication secondSilo = await ApiCluster.ServeAsync(second.Factory, cluster.Blobs());
        var joined = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var follows = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        second.Watching = () =>
        {
            joined.TrySetResult();
            return follows.Task;
        };
        GenerationId id;
        Task<string> secondWaits;
        using (cluster.Device.HoldAfter(0))
        {
            using var leaves = CancellationTokenSource.CreateLinkedTokenSource(ApiCluster.Cancellation);
            Task<string> firstWaits = AnswerAsync(client, firstSilo, json, "0", leaves.Token);
            await first.WatchingAsync(2);
            id = await RememberedAsync(tenant, json);
            secondWaits = AnswerAsync(client, secondSilo, json, "1", ApiCluster.Cancellation);
            await joined.Task.WaitAsync(ApiCluster.Cancellation);
            await leaves.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => firstWaits);
            await first.LeftAsync(2);
            follows.SetResult();
        }

        string answer = (await secondWaits).Replace("\\u002B", "+", StringComparison.Ordinal);
        Assert.DoesNotContain("\"cancelled\"", answer, StringComparison.Ordinal);
        GenerationId next = await RememberedAsync(tenant, json);
        Assert.NotEqual(id, next);
        Assert.Contains(Convert.ToBase64String(Expected("left", 1)), answer, StringComparison.Ordinal);
        Assert.Contains(Convert.ToBase64String(Expected("left", 2)), answer, StringComparison.Ordinal);
        await UntilAsync(tenant, id, view => view!.Phase == GenerationPhase.Cancelled);
        await UntilAsync(tenant, next, view => view!.Phase == GenerationPhase.Done);
    }

    // A client that retries after the cancellation wants the pictures.
    [Fact]
    public async Task ARetry_OfWhatWasCancelled_IsGivenNewPictures()
    {
        const string Tenant = "images-retried", Json = """{"prompt":"again","n":2,"model":"gpt-image-1"}""";
        using HttpClient client = await cluster.ClientAsync(Tenant);
        GenerationId id;
        using (cluster.Device.HoldAfter(0))
        {
            Task<HttpResponseMessage> waiting = client.SendAsync(HttpMethod.Post, ApiCalls.Images, Json);
            id = await RememberedAsync(Tenant, Json);
            await UntilAsync(Tenant, new GenerationId($"{id}-1"), view => view is not null);
            await client.SendAsync(HttpMethod.Post, $"/v1/generations/{id}/cancel").JsonAsync();
            Assert.Equal("cancelled", (await waiting.ErrorAsync(HttpStatusCode.BadRequest)).Code);
        }

        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, Json, ("X-Stainless-Retry-Count", "1")).JsonAsync();
        Assert.Equal(2, answer.GetProperty("data").GetArrayLength());
        Assert.DoesNotContain(id.Value, Ids(answer));
    }

    [Fact]
    public async Task GenerationThatIsCancelledByOthers_EndsTheAnswerWithAnError()
    {
        const string Tenant = "images-withdrawn";
        using HttpClient client = await cluster.ClientAsync(Tenant);
        foreach (bool stream in new[] { false, true })
        {
            string json = $$"""{"prompt":"withdrawn","n":2,"stream":{{(stream ? "true" : "false")}}}""";
            Task<HttpResponseMessage> answer;
            GenerationId id;
            using (cluster.Device.HoldAfter(0))
            {
                answer = client.SendAsync(HttpMethod.Post, ApiCalls.Images, json);
                id = await RememberedAsync(Tenant, json);
                await UntilAsync(Tenant, new GenerationId($"{id}-1"), view => view is not null);
                await cluster.Grains.Generation(Key(Tenant, id.Value)).CancelAsync();
                if (stream)
                {
                    SentEvent error = Assert.Single(await answer.EventsAsync());
                    Assert.Equal(("error", "cancelled"), (error.Name, error.Data.GetProperty("error").Text("code")));
                }
                else
                {
                    Assert.Equal("cancelled", (await answer.ErrorAsync(HttpStatusCode.BadRequest)).Code);
                }

                // Nobody waits for the other one anymore.
                await UntilAsync(Tenant, new GenerationId($"{id}-1"), view => view!.Phase == GenerationPhase.Cancelled);
            }
        }
    }

    // The generations were open when the retry joined, so it draws nothing again.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AnExplicitCancellation_EndsAllThatJoined(bool stream)
    {
        string tenant = $"images-withdrawn-{(stream ? "s" : "n")}";
        string json = $$"""{"prompt":"joined","n":2,"seed":1,"stream":{{(stream ? "true" : "false")}}}""";
        using HttpClient client = await cluster.ClientAsync(tenant);
        WatchedGrains first = WatchedGrains.Over(cluster.Grains), second = WatchedGrains.Over(cluster.Grains);
        await using WebApplication firstSilo = await ApiCluster.ServeAsync(first.Factory, cluster.Blobs());
        await using WebApplication secondSilo = await ApiCluster.ServeAsync(second.Factory, cluster.Blobs());
        using (cluster.Device.HoldAfter(0))
        {
            Task<string> firstWaits = AnswerAsync(client, firstSilo, json, "0", ApiCluster.Cancellation);
            await first.WatchingAsync(2);
            GenerationId id = await RememberedAsync(tenant, json);
            Task<string> secondWaits = AnswerAsync(client, secondSilo, json, "1", ApiCluster.Cancellation);
            await second.WatchingAsync(2);
            await client.SendAsync(HttpMethod.Post, $"/v1/generations/{id}-1/cancel").JsonAsync();
            Assert.Contains("\"cancelled\"", await firstWaits, StringComparison.Ordinal);
            Assert.Contains("\"cancelled\"", await secondWaits, StringComparison.Ordinal);
            Assert.Equal(id, await RememberedAsync(tenant, json));
            await UntilAsync(tenant, id, view => view!.Phase == GenerationPhase.Cancelled);
        }

        TenantView view = (await cluster.Grains.Tenant(new TenantId(tenant)).ViewAsync())!;
        Assert.Equal(0, view.Open);
    }

    [Fact]
    public async Task SiloThatStops_SendsItsClientsAway_AndTheWorkContinues()
    {
        const string Tenant = "images-stop";
        const string Plain = """{"prompt":"stop","seed":1}""";
        const string Streamed = """{"prompt":"stop","seed":2,"stream":true}""";
        using HttpClient client = await cluster.ClientAsync(Tenant);
        WebApplication other = await ApiCluster.ServeAsync(cluster.Grains, cluster.Blobs());
        string address = other.Urls.Single();
        Task<HttpResponseMessage> plain, streamed, native;
        using (cluster.Device.HoldAfter(0))
        {
            plain = client.SendAsync(HttpMethod.Post, address + ApiCalls.Images, Plain);
            await UntilAsync(Tenant, await RememberedAsync(Tenant, Plain), view => view is not null);
            streamed = client.SendAsync(HttpMethod.Post, address + ApiCalls.Images, Streamed);
            GenerationId id = await RememberedAsync(Tenant, Streamed);
            await UntilAsync(Tenant, id, view => view is not null);
            native = client.SendAsync(HttpMethod.Get, $"{address}/v1/generations/{id}/events");
            await Task.WhenAll(streamed, native);
            await other.StopAsync(ApiCluster.Cancellation);
            await other.DisposeAsync();
        }

        HttpResponseMessage answer = await plain;
        Assert.Equal(
            "server_stopping", (await Task.FromResult(answer).ErrorAsync(HttpStatusCode.ServiceUnavailable)).Code);
        Assert.Equal(TimeSpan.FromSeconds(1), answer.Headers.RetryAfter!.Delta);
        SentEvent error = Assert.Single(await streamed.EventsAsync());
        Assert.Equal(("error", "server_stopping"), (error.Name, error.Data.GetProperty("error").Text("code")));
        List<SentEvent> seen = await native.EventsAsync();
        Assert.DoesNotContain("error", seen.Select(one => one.Name));
        foreach (string json in new[] { Plain, Streamed })
        {
            GenerationView end = await UntilAsync(
                Tenant, await RememberedAsync(Tenant, json), view => view!.EndedAt is not null);
            Assert.Equal(GenerationPhase.Done, end.Phase);
        }
    }

    [Theory]
    [InlineData("https", "draw.example:8443", "https://draw.example:8443/")]
    [InlineData("gopher", "draw.example", "http://draw.example/")]
    [InlineData("https", "no host/\"<>", null)]
    public async Task Links_LeadWhereTheClientCameIn(string scheme, string host, string? origin)
    {
        using HttpClient client = await cluster.ClientAsync("images-origin");
        JsonElement answer = await client.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a"}""", ("X-Forwarded-Proto", scheme),
            ("X-Forwarded-Host", host)).JsonAsync();
        Assert.StartsWith(
            origin ?? cluster.Address.ToString(), answer.GetProperty("data")[0].Text("url"), StringComparison.Ordinal);
    }

    private static GenerationSpec Spec(string prompt, ulong seed) =>
        TinyModels.Spec(ApiCluster.Default) with { Prompt = prompt, Negative = "", Seed = seed };

    private static byte[] Expected(string prompt, ulong seed) =>
        TinyModels.Expected(ApiCluster.Default, Spec(prompt, seed));

    private static GenerationKey Key(string tenant, string id) => new(new TenantId(tenant), new GenerationId(id));

    private static string[] Ids(JsonElement answer) =>
        [.. answer.GetProperty("data").EnumerateArray().Select(image => image.Text("id"))];

    private static string[] Pictures(JsonElement answer) =>
        [.. answer.GetProperty("data").EnumerateArray().Select(image => image.Text("b64_json"))];

    private static async Task<string> AnswerAsync(
        HttpClient client, WebApplication silo, string json, string retries, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, silo.Urls.Single() + ApiCalls.Images)
        {
            Content = ApiCalls.Json(json),
        };
        request.Headers.Add("X-Stainless-Retry-Count", retries);
        using HttpResponseMessage answer = await client.SendAsync(
            request, HttpCompletionOption.ResponseHeadersRead, cancellation);
        return await answer.Content.ReadAsStringAsync(cancellation);
    }

    // The id under which a request is remembered, once it is.
    private async Task<GenerationId> RememberedAsync(string tenant, string json)
    {
        string digest = Convert.ToHexStringLower(
            System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(json)));
        var none = new GenerationId("none");
        GenerationId first = none;
        await Eventually.TrueAsync(async () =>
        {
            first = (await cluster.Grains.GetGrain<IRecentRequestsGrain>(tenant).BeginAsync(
                digest, none, 0, again: true)).First;
            return first != none;
        });
        return first;
    }

    private async Task<GenerationView> UntilAsync(string tenant, GenerationId id, Func<GenerationView?, bool> condition)
    {
        GenerationView? view = null;
        await Eventually.TrueAsync(async () =>
        {
            view = await cluster.Grains.Generation(Key(tenant, id.Value)).ViewAsync();
            return condition(view);
        });
        return view!;
    }
}
#pragma warning restore VSTHRD003
