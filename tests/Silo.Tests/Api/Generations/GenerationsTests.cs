// Goal: native generations and sessions keep the promises of the routes: ids that may be sent twice, events that resume
// exactly, files, history, variations, deletion; and a tenant cannot distinguish another tenant's ids from unknown
// ones. Method: requests over HTTP against a cluster in one process.
using System.Net;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Tenants;
using Atelier.Grains;
using Atelier.Grains.Tests;
using Atelier.Model.Imaging;
using Atelier.Silo.Tests.Devices;
using Microsoft.AspNetCore.Builder;
using Xunit;

namespace Atelier.Silo.Tests.Api.Generations;

[Collection(nameof(ApiCluster))]
public sealed class GenerationsTests(ApiCluster cluster)
{
    [Fact]
    public async Task Sessions_BeyondTheTenantsLimit_AreRefused_UntilOneIsDeleted()
    {
        using HttpClient client = await cluster.ClientAsync("sessions-few", new TenantSettings { Sessions = 1 });
        await client.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"a"}""").JsonAsync(HttpStatusCode.Created);
        using HttpResponseMessage refused = await client.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"b"}""");
        Assert.Equal(
            "too_many_sessions", (await Task.FromResult(refused).ErrorAsync(HttpStatusCode.TooManyRequests)).Code);
        Assert.Equal("false", Assert.Single(refused.Headers.GetValues("x-should-retry")));
        using HttpResponseMessage deleted = await client.SendAsync(HttpMethod.Delete, "/v1/sessions/a");
        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        await client.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"b"}""").JsonAsync(HttpStatusCode.Created);
    }

    [Fact]
    public async Task Generation_IsSubmittedFollowedAndShown()
    {
        using HttpClient client = await cluster.ClientAsync("gen-story");
        JsonElement accepted = await client.SendAsync(
            HttpMethod.Post, "/v1/generations",
            """
            {"id":"one","prompt":"red","negative_prompt":"blue","seed":"9","steps":6,"guidance":2,"size":"32x32",
             "model":"first","previews":2}
            """)
            .JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal("one", accepted.Text("id"));
        List<SentEvent> events = await client.SendAsync(HttpMethod.Get, "/v1/generations/one/events").EventsAsync();
        Assert.Equal(
            ["queued_encode", "encoding", "queued_denoise", "denoising", "queued_decode", "decoding", "done"],
            events.Select(one => one.Name).Distinct());
        Assert.All(events, one => Assert.Equal(one.Name, one.Data.Text("phase")));
        Assert.Equal("/v1/generations/one/picture", events[^1].Data.Text("picture"));
        SentEvent[] previews = [
            .. events.Where(one => one.Data.GetProperty("preview").ValueKind == JsonValueKind.String)];
        Assert.Equal([2, 4], previews.Select(one => one.Data.GetProperty("step").GetInt32()));

        JsonElement done = await client.SendAsync(HttpMethod.Get, "/v1/generations/one").JsonAsync();
        Assert.Equal(
            ("done", "red", "blue", "9", "32x32", 6, 6),
            (done.Text("phase"), done.Text("prompt"), done.Text("negative_prompt"), done.Text("seed_text"),
                done.Text("size"),
                done.GetProperty("step").GetInt32(), done.GetProperty("steps").GetInt32()));
        string[] members =
        [
            "id", "session", "phase", "step", "steps", "position", "wait_seconds", "loading_seconds", "prompt",
            "negative_prompt", "prompt_tokens", "negative_prompt_tokens", "model", "seed", "seed_text",
            "guidance", "size", "variation_of", "picture", "error", "accepted_at", "ended_at", "restarts",
            "device_kind",
        ];
        Assert.Equal(members, done.EnumerateObject().Select(member => member.Name));
        Assert.True(done.GetProperty("ended_at").GetDateTimeOffset() >= done.GetProperty(
            "accepted_at").GetDateTimeOffset());

        GenerationSpec spec = TinyModels.Spec(
            ApiCluster.Default) with
        { Prompt = "red", Negative = "blue", Seed = 9, Steps = 6, Guidance = 2 };
        using HttpResponseMessage picture = await client.SendAsync(HttpMethod.Get, done.Text("picture"));
        Assert.Equal(
            TinyModels.Expected(ApiCluster.Default, spec), await picture.Content.ReadAsByteArrayAsync(
                ApiCluster.Cancellation));
        Assert.Contains("immutable", picture.Headers.CacheControl!.ToString(), StringComparison.Ordinal);
        using HttpResponseMessage kept = await client.SendAsync(
            HttpMethod.Get, done.Text("picture"), null, ("If-None-Match", picture.Headers.ETag!.ToString()));
        Assert.Equal(HttpStatusCode.NotModified, kept.StatusCode);

        byte[][] files = await Task.WhenAll(
            previews.Select(one => client.GetByteArrayAsync(one.Data.Text("preview"), ApiCluster.Cancellation)));
        Assert.All(files, file => Assert.Equal((32, 32), ImageCodec.ReadSize(file)));
        Assert.NotEqual(files[0], files[1]);
        foreach (string index in new[] { "2", "3", "-1", "x", "00", "a%2fb" })
        {
            await client.SendAsync(
                HttpMethod.Get, $"/v1/generations/one/previews/{index}").ErrorAsync(HttpStatusCode.NotFound);
        }
    }

    [Fact]
    public async Task TheSameIdAgain_IsTheSameGeneration_AndAnotherRequestIsRefused()
    {
        using HttpClient client = await cluster.ClientAsync("gen-twice");
        const string Json = """{"id":"one","prompt":"red"}""";
        JsonElement first = await client.SendAsync(
            HttpMethod.Post, "/v1/generations", Json).JsonAsync(HttpStatusCode.Accepted);
        JsonElement second = await client.SendAsync(
            HttpMethod.Post, "/v1/generations", Json).JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal(first.Text("seed_text"), second.Text("seed_text"));
        Assert.Equal(first.Text("accepted_at"), second.Text("accepted_at"));
        Assert.Equal(
            "id_conflict",
            (await client.SendAsync(HttpMethod.Post, "/v1/generations", """{"id":"one","prompt":"blue"}""").ErrorAsync(
                HttpStatusCode.Conflict)).Code);

        // Any client can read back the seeds that the API chooses.
        Assert.True(first.GetProperty("seed").GetUInt64() < 1UL << 53);
        Assert.Equal(
            HttpStatusCode.NoContent, (await client.SendAsync(HttpMethod.Delete, "/v1/generations/one")).StatusCode);
        await client.SendAsync(HttpMethod.Get, "/v1/generations/one").ErrorAsync(HttpStatusCode.NotFound);
        await client.SendAsync(HttpMethod.Delete, "/v1/generations/one").ErrorAsync(HttpStatusCode.NotFound);
        Assert.Equal(
            "gone", (await client.SendAsync(HttpMethod.Post, "/v1/generations", Json).ErrorAsync(HttpStatusCode.Gone))
                .Code);
    }

    [Fact]
    public async Task LastEventId_GivesExactlyTheEventsThatWereMissed()
    {
        using HttpClient client = await cluster.ClientAsync("gen-resume");
        await client.SendAsync(
            HttpMethod.Post, "/v1/generations", """{"id":"one","prompt":"red","steps":5,"previews":3}""").JsonAsync(
                HttpStatusCode.Accepted);
        string[] all = [
            .. Numbered(await client.SendAsync(HttpMethod.Get, "/v1/generations/one/events").EventsAsync())
                .Select(Shown)];
        string[] ids = [.. all.Select(one => one.Split(' ')[0])];
        for (int seen = 0; seen < all.Length - 1; seen++)
        {
            List<SentEvent> missed = await client.SendAsync(
                HttpMethod.Get, "/v1/generations/one/events", null, ("Last-Event-ID", ids[seen])).EventsAsync();
            Assert.Equal(all[(seen + 1)..], Numbered(missed).Select(Shown));
        }

        using HttpResponseMessage nothing = await client.SendAsync(
            HttpMethod.Get, "/v1/generations/one/events", null, ("Last-Event-ID", ids[^1]));
        Assert.Equal(HttpStatusCode.NoContent, nothing.StatusCode);
        foreach (string wrong in new[] { "x", "1", "1.2.3", "-1.0", "99999.0", "1.1001" })
        {
            await client.SendAsync(
                HttpMethod.Get, "/v1/generations/one/events", null, ("Last-Event-ID", wrong)).ErrorAsync(
                    HttpStatusCode.BadRequest);
        }

        static string Shown(SentEvent one) => $"{one.Id} {one.Name} {one.Data.GetRawText()}";
    }

    [Fact]
    public async Task Reader_ThatDisconnectsAndReconnects_MissesNothing()
    {
        using HttpClient client = await cluster.ClientAsync("gen-midway");
        List<string> seen = [];
        await client.SendAsync(
            HttpMethod.Post, "/v1/generations", """{"id":"one","prompt":"red","steps":60}""")
            .JsonAsync(HttpStatusCode.Accepted);
        using (HttpResponseMessage stream = await client.SendAsync(HttpMethod.Get, "/v1/generations/one/events"))
        {
            await foreach (SentEvent one in stream.ReadEventsAsync().Where(one => one.Id is not null))
            {
                seen.Add(one.Id!);
                if (one.Id == "3.1")
                {
                    break;
                }
            }
        }

        // The generation continues without its reader.
        List<SentEvent> rest = await client.SendAsync(
            HttpMethod.Get, "/v1/generations/one/events", null, ("Last-Event-ID", seen[^1])).EventsAsync();
        seen.AddRange(Numbered(rest).Select(one => one.Id!));
        SentEvent[] all =
            [.. Numbered(await client.SendAsync(HttpMethod.Get, "/v1/generations/one/events").EventsAsync())];
        Assert.Equal(all.Select(one => one.Id), seen);
        Assert.Equal("done", all[^1].Name);
    }

    // Events without an id are places in the queue.
    private static IEnumerable<SentEvent> Numbered(IEnumerable<SentEvent> events) =>
        events.Where(one => one.Id is not null);

    [Fact]
    public async Task ReaderThatAsksForIt_CancelsByDisconnecting()
    {
        using HttpClient client = await cluster.ClientAsync("gen-leave");
        using (cluster.Device.HoldAfter(0))
        {
            await client.SendAsync(HttpMethod.Post, "/v1/generations", """{"id":"one","prompt":"red"}""").JsonAsync(
                HttpStatusCode.Accepted);
            const string Events = "/v1/generations/one/events?on_disconnect=cancel";
            using HttpResponseMessage reader = await client.SendAsync(HttpMethod.Get, Events);
            await using IAsyncEnumerator<SentEvent> seen = reader.ReadEventsAsync().GetAsyncEnumerator(
                ApiCluster.Cancellation);
            Assert.True(await seen.MoveNextAsync());

            // A client that reconnects before its broken connection is noticed counts as another reader.
            WatchedGrains broken = WatchedGrains.Over(cluster.Grains);
            await using (WebApplication other = await ApiCluster.ServeAsync(broken.Factory, cluster.Blobs()))
            {
                (await client.SendAsync(HttpMethod.Get, other.Urls.Single() + Events)).Dispose();
                await broken.LeftAsync(1);
            }

            var key = new GenerationKey(new TenantId("gen-leave"), new GenerationId("one"));
            Assert.Null((await cluster.Grains.Generation(key).ViewAsync())!.EndedAt);
            reader.Dispose();
            await Eventually.TrueAsync(async () =>
                (await client.SendAsync(HttpMethod.Get, "/v1/generations/one").JsonAsync()).Text("phase")
                    == "cancelled");
        }

        await client.SendAsync(
            HttpMethod.Get, "/v1/generations/one/events?on_disconnect=maybe").ErrorAsync(HttpStatusCode.BadRequest);
    }

    [Fact]
    public async Task Cancel_EndsTheGenerationAndItsEvents()
    {
        using HttpClient client = await cluster.ClientAsync("gen-cancel");
        using (cluster.Device.HoldAfter(0))
        {
            await client.SendAsync(HttpMethod.Post, "/v1/generations", """{"id":"one","prompt":"red"}""").JsonAsync(
                HttpStatusCode.Accepted);
            Task<List<SentEvent>> following = client.SendAsync(
                HttpMethod.Get, "/v1/generations/one/events").EventsAsync();
            for (int times = 0; times < 2; times++)
            {
                JsonElement view = await client.SendAsync(HttpMethod.Post, "/v1/generations/one/cancel").JsonAsync();
                Assert.Equal("cancelled", view.Text("phase"));
            }

            Assert.Equal("cancelled", (await following)[^1].Name);
        }

        Assert.Contains(
            "cancelled",
            (await client.SendAsync(HttpMethod.Get, "/v1/generations/one/picture").ErrorAsync(HttpStatusCode.NotFound))
                .Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Session_HasItsHistoryVariationsAndEnd()
    {
        using HttpClient client = await cluster.ClientAsync("ses-story");
        JsonElement session = await client.SendAsync(
            HttpMethod.Post, "/v1/sessions", """{"id":"s"}""").JsonAsync(HttpStatusCode.Created);
        Assert.Equal(("s", 0), (session.Text("id"), session.GetProperty("generations").GetInt32()));
        JsonElement again = await client.SendAsync(
            HttpMethod.Post, "/v1/sessions", """{"id":"s"}""").JsonAsync(HttpStatusCode.Created);
        Assert.Equal(session.GetRawText(), again.GetRawText());
        Assert.NotEmpty((
            await client.SendAsync(HttpMethod.Post, "/v1/sessions").JsonAsync(HttpStatusCode.Created)).Text("id"));

        await client.SendAsync(
            HttpMethod.Post, "/v1/sessions/s/generations", """{"id":"g0","prompt":"red","seed":41}""").JsonAsync(
                HttpStatusCode.Accepted);
        JsonElement next = await client.SendAsync(
            HttpMethod.Post, "/v1/sessions/s/generations/g0/variations", """{"id":"g1"}""").JsonAsync(
                HttpStatusCode.Accepted);
        JsonElement other = await client.SendAsync(
            HttpMethod.Post, "/v1/sessions/s/generations/g0/variations", """{"id":"g2","seed":"5"}""").JsonAsync(
                HttpStatusCode.Accepted);
        JsonElement chance = await client.SendAsync(
            HttpMethod.Post, "/v1/sessions/s/generations/g1/variations").JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal(
            [("42", "g0", "red"), ("5", "g0", "red"), ("43", "g1", "red")],
            new[] { next, other, chance }.Select(
                one => (one.Text("seed_text"), one.Text("variation_of"), one.Text("prompt"))));

        JsonElement page = await client.SendAsync(
            HttpMethod.Get, "/v1/sessions/s/generations?start=1&count=2").JsonAsync();
        Assert.Equal(["g1", "g2"], page.GetProperty("items").EnumerateArray().Select(one => one.Text("id")));
        Assert.Equal(3, page.GetProperty("next").GetInt32());
        JsonElement rest = await client.SendAsync(HttpMethod.Get, "/v1/sessions/s/generations?start=3").JsonAsync();
        Assert.Equal((1, JsonValueKind.Null), (
            rest.GetProperty("items").GetArrayLength(), rest.GetProperty("next").ValueKind));
        foreach (string query in new[] { "start=-1", "start=x", "count=0", "count=101", "count=", "start=99999999999" })
        {
            await client.SendAsync(
                HttpMethod.Get, $"/v1/sessions/s/generations?{query}").ErrorAsync(HttpStatusCode.BadRequest);
        }

        await client.SendAsync(HttpMethod.Get, "/v1/generations/g0/events").EventsAsync();
        Assert.Equal(
            HttpStatusCode.NoContent, (await client.SendAsync(HttpMethod.Delete, "/v1/sessions/s")).StatusCode);
        foreach (string path in new[] { "/v1/sessions/s", "/v1/sessions/s/generations", "/v1/generations/g0",
            "/v1/generations/g0/picture" })
        {
            await client.SendAsync(HttpMethod.Get, path).ErrorAsync(HttpStatusCode.NotFound);
        }

        await client.SendAsync(HttpMethod.Delete, "/v1/sessions/s").ErrorAsync(HttpStatusCode.NotFound);
        await client.SendAsync(
            HttpMethod.Post, "/v1/sessions/s/generations", """{"prompt":"red"}""").ErrorAsync(HttpStatusCode.NotFound);
        await client.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"s"}""").ErrorAsync(HttpStatusCode.Gone);
    }

    [Fact]
    public async Task AnotherTenantsIds_AreAnsweredLikeUnknownOnes()
    {
        using HttpClient owner = await cluster.ClientAsync("meet-owner");
        using HttpClient other = await cluster.ClientAsync("meet-other");
        await owner.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"mine"}""").JsonAsync(HttpStatusCode.Created);
        await owner.SendAsync(
            HttpMethod.Post, "/v1/sessions/mine/generations", """{"id":"mine","prompt":"red","previews":1}""")
                .JsonAsync(HttpStatusCode.Accepted);
        await owner.SendAsync(HttpMethod.Get, "/v1/generations/mine/events").EventsAsync();
        (HttpMethod, string)[] calls =
        [
            (HttpMethod.Get, "/v1/generations/ID"), (HttpMethod.Get, "/v1/generations/ID/events"),
            (HttpMethod.Get, "/v1/generations/ID/picture"),
            (HttpMethod.Get, "/v1/generations/ID/previews/0"), (HttpMethod.Post, "/v1/generations/ID/cancel"),
            (HttpMethod.Delete, "/v1/generations/ID"),
            (HttpMethod.Get, "/v1/sessions/ID"), (HttpMethod.Get, "/v1/sessions/ID/generations"),
            (HttpMethod.Delete, "/v1/sessions/ID"),
            (HttpMethod.Post, "/v1/sessions/ID/generations/ID/variations"),
        ];
        foreach ((HttpMethod method, string path) in calls)
        {
            using HttpResponseMessage theirs = await other.SendAsync(
                method, path.Replace("ID", "mine", StringComparison.Ordinal));
            using HttpResponseMessage unknown = await other.SendAsync(
                method, path.Replace("ID", "none", StringComparison.Ordinal));
            Assert.Equal(HttpStatusCode.NotFound, theirs.StatusCode);
            Assert.Equal(Headers(unknown), Headers(theirs));
            Assert.Equal(
                await unknown.Content.ReadAsStringAsync(ApiCluster.Cancellation),
                await theirs.Content.ReadAsStringAsync(ApiCluster.Cancellation));
        }

        // The same id is free for another tenant, and refers to that tenant's own generation.
        await other.SendAsync(
            HttpMethod.Post, "/v1/generations", """{"id":"mine","prompt":"blue"}""").JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal("red", (await owner.SendAsync(HttpMethod.Get, "/v1/generations/mine").JsonAsync()).Text("prompt"));

        static string[] Headers(HttpResponseMessage answer) => [.. answer.Headers.Concat(answer.Content.Headers)
            .Where(header => header.Key is not ("X-Request-ID" or "Date"))
            .Select(header => $"{header.Key}: {string.Join(',', header.Value)}")];
    }

    [Theory]
    [InlineData("..%2f..%2fetc%2fpasswd")]
    [InlineData("%2e%2e")]
    [InlineData("meet-owner%2fmine")]
    [InlineData("a%0d%0ab")]
    [InlineData("%25%32%66")]
    [InlineData("-leading")]
    [InlineData("a.b")]
    [InlineData("%F0%9F%98%80")]
    [InlineData("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    public async Task HostileIds_FindNothing(string id)
    {
        using HttpClient client = await cluster.ClientAsync("tricks");
        foreach (string path in new[] { "/v1/generations/ID", "/v1/generations/ID/events", "/v1/generations/ID/picture",
            "/v1/sessions/ID", "/v1/models/ID", "/v1/pictures/ID" })
        {
            // Sent unchanged: otherwise the client would normalize the path.
            var uri = new Uri(
                cluster.Address + path.Replace("ID", id, StringComparison.Ordinal)[1..],
                new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });
            await client.SendAsync(new HttpRequestMessage(HttpMethod.Get, uri), ApiCluster.Cancellation).ErrorAsync(
                HttpStatusCode.NotFound);
        }
    }

    [Theory]
    [InlineData("id", "\"../x\"")]
    [InlineData("id", "\"a/b\"")]
    [InlineData("id", "\"\"")]
    [InlineData("id", "5")]
    [InlineData("previews", "4")]
    [InlineData("steps", "0")]
    [InlineData("guidance", "0")]
    [InlineData("size", "\"1x1\"")]
    [InlineData("stream", "true")]
    public async Task WrongMembersOfANativeRequest_AreNamed(string name, string value)
    {
        using HttpClient client = await cluster.ClientAsync("gen-wrong");
        await client.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"s"}""").JsonAsync(HttpStatusCode.Created);
        foreach (string path in new[] { "/v1/generations", "/v1/sessions/s/generations" })
        {
            (_, string? param, _) = await client.SendAsync(
                HttpMethod.Post, path, $$"""{"prompt":"a","{{name}}":{{value}}}""").ErrorAsync(
                    HttpStatusCode.BadRequest);
            Assert.Equal(name, param);
        }
    }
}
