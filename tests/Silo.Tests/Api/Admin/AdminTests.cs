// Goal: an administrator creates, changes and closes tenants and their keys, and sees the cluster; the API's
// description is available to everybody. Method: requests over HTTP against a cluster in one process.
using System.Net;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Grains;
using Atelier.Grains.Ports;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Images;
using Xunit;

namespace Atelier.Silo.Tests.Api.Admin;

[Collection(nameof(ApiCluster))]
public sealed class AdminTests(ApiCluster cluster)
{
    [Fact]
    public async Task Tenant_IsMadeChangedAndClosed()
    {
        using HttpClient admin = cluster.Admin();
        const string Url = "/v1/admin/tenants/adm-life";
        await admin.SendAsync(HttpMethod.Get, Url).ErrorAsync(HttpStatusCode.NotFound);
        await admin.SendAsync(HttpMethod.Delete, Url).ErrorAsync(HttpStatusCode.NotFound);
        JsonElement made = await admin.SendAsync(
            HttpMethod.Put, Url, """{"weight":2.5,"evaluations_per_day":7}""").JsonAsync();
        Assert.Equal((2.5, 600, 7),
            (made.GetProperty("weight").GetDouble(), made.GetProperty("requests_per_minute").GetInt32(),
                made.GetProperty("evaluations_per_day").GetInt64()));
        JsonElement changed = await admin.SendAsync(
            HttpMethod.Put, Url, """{"open_generations":3,"weight":null}""").JsonAsync();
        Assert.Equal((2.5, 3, 7),
            (changed.GetProperty("weight").GetDouble(), changed.GetProperty("open_generations").GetInt32(),
                changed.GetProperty("evaluations_per_day").GetInt64()));
        Assert.Equal(changed.GetRawText(), (await admin.SendAsync(HttpMethod.Get, Url).JsonAsync()).GetRawText());
        foreach ((string name, string value) in new[] { ("weight", "0.5"), ("weight", "1001"),
            ("requests_per_minute", "-1"), ("open_generations", "10001"), ("evaluations_per_day", "-1"),
            ("sessions", "10001"), ("stored_megabytes", "-1"),
            ("evaluations_per_day", "1e3"), ("wight", "1") })
        {
            (_, string? param, _) = await admin.SendAsync(
                HttpMethod.Put, Url, $$"""{"{{name}}":{{value}}}""").ErrorAsync(HttpStatusCode.BadRequest);
            Assert.Equal(name, param);
        }

        foreach ((string name, string value) in new[] { ("weight", "1"), ("weight", "1000"),
            ("requests_per_minute", "0"), ("open_generations", "0"), ("open_generations", "10000"),
            ("evaluations_per_day", "0"), ("sessions", "0"), ("sessions", "10000"), ("stored_megabytes", "0") })
        {
            JsonElement bound = await admin.SendAsync(HttpMethod.Put, Url, $$"""{"{{name}}":{{value}}}""").JsonAsync();
            Assert.Equal(value, bound.GetProperty(name).GetRawText());
        }

        await admin.SendAsync(HttpMethod.Put, "/v1/admin/tenants/a.b", "{}").ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Equal(HttpStatusCode.NoContent, (await admin.SendAsync(HttpMethod.Delete, Url)).StatusCode);
        await admin.SendAsync(HttpMethod.Get, Url).ErrorAsync(HttpStatusCode.NotFound);
        using HttpClient tenant = cluster.As(new Caller(new TenantId("adm-life"), IsAdmin: false));
        await tenant.SendAsync(
            HttpMethod.Post, "/v1/generations", """{"prompt":"a"}""").ErrorAsync(HttpStatusCode.Unauthorized);
    }

    [Fact]
    public async Task AClosedTenant_HasNoLinks_AndTheNextOfItsName_FindsNoneOfItsData()
    {
        using HttpClient admin = cluster.Admin(), anybody = cluster.As(null);
        const string Url = "/v1/admin/tenants/adm-again";
        using HttpClient before = await cluster.ClientAsync("adm-again");
        JsonElement drawn = await before.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","steps":1,"response_format":"url"}""").JsonAsync();
        string link = new Uri(drawn.GetProperty("data")[0].Text("url")).PathAndQuery;
        await before.SendAsync(HttpMethod.Post, "/v1/sessions", """{"id":"s"}""").JsonAsync(HttpStatusCode.Created);
        string url = "/v1/generations/of-the-first";
        await before.SendAsync(HttpMethod.Post, "/v1/generations", """{"id":"of-the-first","prompt":"a","steps":1}""")
            .JsonAsync(HttpStatusCode.Accepted);
        Assert.Equal(HttpStatusCode.OK, (await anybody.SendAsync(HttpMethod.Get, link)).StatusCode);

        Assert.Equal(HttpStatusCode.NoContent, (await admin.SendAsync(HttpMethod.Delete, Url)).StatusCode);
        await anybody.SendAsync(HttpMethod.Get, link).ErrorAsync(HttpStatusCode.NotFound);
        JsonElement opened = await admin.SendAsync(HttpMethod.Put, Url, """{"weight":2}""").JsonAsync();
        Assert.Equal("adm-again", opened.Text("id"));
        await anybody.SendAsync(HttpMethod.Get, link).ErrorAsync(HttpStatusCode.NotFound);
        JsonElement key = await admin.SendAsync(HttpMethod.Post, $"{Url}/keys", """{"label":"new"}""")
            .JsonAsync(HttpStatusCode.Created);
        Assert.True(ApiKey.TryParse(key.Text("key"), out TenantId next));
        Assert.Equal("adm-again", next.Name);
        Assert.True(await cluster.Grains.Tenant(next).HasKeyAsync(key.Text("hash")));
        using HttpClient after = cluster.As(new Caller(next, IsAdmin: false));
        await after.SendAsync(HttpMethod.Get, url).ErrorAsync(HttpStatusCode.NotFound);
        await after.SendAsync(HttpMethod.Get, "/v1/sessions/s").ErrorAsync(HttpStatusCode.NotFound);
        drawn = await after.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","steps":1,"response_format":"url"}""").JsonAsync();
        link = new Uri(drawn.GetProperty("data")[0].Text("url")).PathAndQuery;
        Assert.Equal(HttpStatusCode.OK, (await anybody.SendAsync(HttpMethod.Get, link)).StatusCode);

        // An administrator knows tenants by name.
        await admin.SendAsync(HttpMethod.Get, $"/v1/admin/tenants/{next}").ErrorAsync(HttpStatusCode.NotFound);
        await admin.SendAsync(HttpMethod.Put, $"/v1/admin/tenants/{next}", "{}").ErrorAsync(HttpStatusCode.BadRequest);
    }

    [Fact]
    public async Task Tenants_AreListedInParts()
    {
        using HttpClient admin = cluster.Admin();
        for (int i = 0; i < 3; i++)
        {
            await admin.SendAsync(HttpMethod.Put, $"/v1/admin/tenants/adm-list-{i}").JsonAsync();
        }

        List<string> names = [];
        string? after = "adm-list";
        do
        {
            JsonElement part = await admin.SendAsync(
                HttpMethod.Get, $"/v1/admin/tenants?after={after}&count=2").JsonAsync();
            names.AddRange(part.GetProperty("items").EnumerateArray().Select(tenant => tenant.Text("id")));
            after = part.GetProperty("next").GetString();
        }
        while (after is not null);
        Assert.Equal(["adm-list-0", "adm-list-1", "adm-list-2"], names.Take(3));
        Assert.Equal(names.Order(StringComparer.Ordinal).Distinct(), names);
        await admin.SendAsync(HttpMethod.Get, "/v1/admin/tenants?count=0").ErrorAsync(HttpStatusCode.BadRequest);
    }

    [Fact]
    public async Task Key_IsShownOnceAndRevoked()
    {
        using HttpClient admin = cluster.Admin();
        const string Url = "/v1/admin/tenants/adm-keys";
        await admin.SendAsync(HttpMethod.Post, $"{Url}/keys", """{"label":"a"}""").ErrorAsync(HttpStatusCode.NotFound);
        await admin.SendAsync(HttpMethod.Put, Url, "{}").JsonAsync();
        JsonElement made = await admin.SendAsync(
            HttpMethod.Post, $"{Url}/keys", """{"label":"laptop"}""").JsonAsync(HttpStatusCode.Created);
        string key = made.Text("key"), hash = made.Text("hash");
        Assert.True(ApiKey.TryParse(key, out TenantId tenant));
        Assert.Equal(("adm-keys", ApiKey.HashOf(key)), (tenant.Value, hash));
        ITenantGrain grain = cluster.Grains.Tenant(tenant);
        Assert.True(await grain.HasKeyAsync(hash));
        JsonElement shown = await admin.SendAsync(HttpMethod.Get, Url).JsonAsync();
        Assert.DoesNotContain(key, shown.GetRawText(), StringComparison.Ordinal);
        Assert.Equal(("laptop", hash), (
            shown.GetProperty("keys")[0].Text("label"), shown.GetProperty("keys")[0].Text("hash")));
        foreach (string body in new[] { "{}", """{"label":""}""", """{"label":5}""",
            $$"""{"label":"{{new string('a', 101)}}"}""" })
        {
            await admin.SendAsync(HttpMethod.Post, $"{Url}/keys", body).ErrorAsync(HttpStatusCode.BadRequest);
        }

        await admin.SendAsync(
            HttpMethod.Delete, $"{Url}/keys/{new string('0', 64)}").ErrorAsync(HttpStatusCode.NotFound);
        Assert.Equal(
            HttpStatusCode.NoContent, (await admin.SendAsync(HttpMethod.Delete, $"{Url}/keys/{hash}")).StatusCode);
        Assert.False(await grain.HasKeyAsync(hash));
        await admin.SendAsync(HttpMethod.Delete, $"{Url}/keys/{hash}").ErrorAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task Status_ShowsSilosWorkersAndQueues()
    {
        using HttpClient admin = cluster.Admin();
        JsonElement status = await admin.SendAsync(HttpMethod.Get, "/v1/admin/status").JsonAsync();
        Assert.Equal("http://127.0.0.1:1", status.GetProperty("silos")[0].Text("address"));
        JsonElement worker = status.GetProperty("workers")[0];
        Assert.Equal(["encode", "denoise", "decode"], worker.GetProperty("roles").EnumerateArray().Select(
            role => role.GetString()));
        Assert.Equal((4, false), (worker.GetProperty("slots").GetInt32(), worker.GetProperty("draining").GetBoolean()));
        JsonElement queue = status.GetProperty("queues")[0];
        Assert.Equal(("first", ApiCluster.Default.Card.Digest.Value), (queue.Text("name"), queue.Text("model")));
        Assert.True(queue.GetProperty("waiting").GetInt32() >= 0);
    }

    [Fact]
    public async Task Models_AreListedAndFoundByAnyOfTheirNames()
    {
        using HttpClient client = await cluster.ClientAsync("adm-models");
        JsonElement list = await client.SendAsync(HttpMethod.Get, "/v1/models").JsonAsync();
        Assert.Equal("list", list.Text("object"));
        Assert.Equal("first", list.GetProperty("data")[0].Text("id"));
        foreach (string name in new[] { "first", "gpt-image-1", "dall-e-3", ApiCluster.Default.Card.Digest.Value })
        {
            JsonElement model = await client.SendAsync(HttpMethod.Get, $"/v1/models/{name}").JsonAsync();
            Assert.Equal(("first", "model", "32x32"), (
                model.Text("id"), model.Text("object"), model.GetProperty("sizes")[0].GetString()));
        }
    }

    [Fact]
    public async Task Description_NamesAndDescribesEveryRoute()
    {
        using HttpClient anybody = cluster.As(null);
        JsonElement document = await anybody.SendAsync(HttpMethod.Get, "/openapi/v1.json").JsonAsync();
        string[] routes =
        [
            .. document.GetProperty("paths").EnumerateObject()
            .SelectMany(path => path.Value.EnumerateObject().Select(operation =>
            {
                Assert.NotEmpty(operation.Value.Text("summary"));
                return $"{operation.Name} {path.Name}";
            })).Order(StringComparer.Ordinal),
        ];
        string[] expected =
        [
            "delete /v1/admin/tenants/{tenant}", "delete /v1/admin/tenants/{tenant}/keys/{hash}",
            "delete /v1/generations/{id}", "delete /v1/models/{id}", "delete /v1/sessions/{id}",
            "delete /v1/training/runs/{id}",
            "get /v1/admin/status", "get /v1/admin/tenants", "get /v1/admin/tenants/{tenant}",
            "get /v1/generations/{id}", "get /v1/generations/{id}/events",
            "get /v1/generations/{id}/picture", "get /v1/generations/{id}/previews/{index}", "get /v1/models",
            "get /v1/models/{id}", "get /v1/pictures/{token}",
            "get /v1/sessions/{id}", "get /v1/sessions/{id}/generations", "get /v1/training/runs",
            "get /v1/training/runs/{id}", "get /v1/training/runs/{id}/events",
            "get /v1/training/runs/{id}/stages/{stage}/curves/{curve}.svg",
            "get /v1/training/runs/{id}/stages/{stage}/events.tfevents",
            "get /v1/training/runs/{id}/stages/{stage}/metrics",
            "get /v1/training/runs/{id}/stages/{stage}/panels/{step}.png",
            "get /v1/training/runs/{id}/stages/{stage}/report", "post /v1/admin/blobs/sweep",
            "post /v1/admin/tenants/{tenant}/keys",
            "post /v1/generations", "post /v1/generations/{id}/cancel",
            "post /v1/images/generations", "post /v1/sessions", "post /v1/sessions/{id}/generations",
            "post /v1/sessions/{id}/generations/{generation}/variations",
            "post /v1/training/data/{set}/{sha256}/hold", "post /v1/training/runs",
            "post /v1/training/runs/{id}/export", "post /v1/training/runs/{id}/pause",
            "post /v1/training/runs/{id}/publish", "post /v1/training/runs/{id}/resume",
            "put /v1/admin/tenants/{tenant}", "put /v1/training/data/{set}/{sha256}",
        ];
        Assert.Equal(expected, routes);

        // The parser accepts the bodies that the document describes.
        JsonElement body = document.GetProperty("components").GetProperty("schemas").GetProperty(
            nameof(CreateImagesRequest)).GetProperty("properties");
        Assert.Equal(ApiJson.MembersOf<CreateImagesRequest>(), body.EnumerateObject().Select(member => member.Name));
        Assert.All(body.EnumerateObject(), member =>
            Assert.True(member.Value.TryGetProperty("description", out _), member.Name));
        string page = await anybody.GetStringAsync("/docs", ApiCluster.Cancellation);
        Assert.Contains("Atelier", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sweep_ListsWhatNoOwnerNeeds_AndRemovesItOnlyOnRequest()
    {
        const string Url = "/v1/admin/blobs/sweep";
        using HttpClient admin = cluster.Admin(), tenant = await cluster.ClientAsync("adm-sweep");
        await tenant.SendAsync(HttpMethod.Post, Url).ErrorAsync(HttpStatusCode.Forbidden);
        foreach ((string name, string value) in ((string, string)[])
            [("grace_hours", "0"), ("grace_hours", "1.5"), ("dry_run", "1"), ("grace", "24")])
        {
            (_, string? param, _) = await admin.SendAsync(
                HttpMethod.Post, Url, $$"""{"{{name}}":{{value}}}""").ErrorAsync(HttpStatusCode.BadRequest);
            Assert.Equal(name, param);
        }

        // Blobs that nobody needs, an old one and a young one, and the picture of a generation that exists.
        JsonElement drawn = await tenant.SendAsync(
            HttpMethod.Post, ApiCalls.Images, """{"prompt":"a","steps":1}""").JsonAsync();
        var key = new GenerationKey(new TenantId("adm-sweep"), new GenerationId("never"));
        BlobName old = await cluster.Blobs(new EarlierClock()).PutAsync(
            BlobKind.Snapshot, key, [1, 2, 3], ApiCluster.Cancellation);
        BlobName young = await cluster.Blobs().PutAsync(BlobKind.Snapshot, key, [4], ApiCluster.Cancellation);
        foreach (string body in (string[])["", """{"dry_run":true}""", """{"dry_run":false,"grace_hours":30}"""])
        {
            bool removes = body.Contains("false", StringComparison.Ordinal);
            List<SentEvent> events = await admin.SendAsync(
                HttpMethod.Post, Url, body.Length == 0 ? null : body).EventsAsync();
            SentEvent blob = Assert.Single(events, one => one.Data.TryGetProperty("name", out _)
                && one.Data.Text("name") == old.Value);
            Assert.Equal(("blob", 3, removes), (
                blob.Name, blob.Data.GetProperty("bytes").GetInt32(), blob.Data.GetProperty("removed").GetBoolean()));
            Assert.Equal("never", Assert.Single(blob.Data.GetProperty("owners").EnumerateArray()).GetString());
            Assert.Equal("done", events[^1].Name);
            Assert.True(events[^1].Data.GetProperty("young").GetProperty("blobs").GetInt32() >= 2);
            Assert.Equal(3, events[^1].Data.GetProperty("unneeded").GetProperty("bytes").GetInt32());
            Assert.Equal(
                removes ? 1 : 0, events[^1].Data.GetProperty("removed").GetProperty("blobs").GetInt32());
            Assert.Equal(
                !removes, await cluster.Blobs().GetAsync(old, ApiCluster.Cancellation) is not null);
        }

        Assert.NotNull(await cluster.Blobs().GetAsync(young, ApiCluster.Cancellation));
        Assert.Equal(1, drawn.GetProperty("data").GetArrayLength());
    }

    private sealed class EarlierClock : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() - TimeSpan.FromHours(36);
    }

    /// <summary>Compares docs/openapi.json with the served document; with ATELIER_ACCEPT=1 rewrites it.</summary>
    [Fact]
    public async Task Description_IsTheOneThatWasApproved()
    {
        using HttpClient anybody = cluster.As(null);
        string now = await anybody.GetStringAsync("/openapi/v1.json", ApiCluster.Cancellation) + "\n";
        if (Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1")
        {
            await File.WriteAllTextAsync(Approved(), now, ApiCluster.Cancellation);
        }

        Assert.True(
            now == await File.ReadAllTextAsync(Approved(), ApiCluster.Cancellation),
            "The API changed against docs/openapi.json; look at it and run with ATELIER_ACCEPT=1.");
    }

    private static string Approved([CallerFilePath] string source = "") =>
        Path.Combine(Path.GetDirectoryName(source)!, "..", "..", "..", "..", "docs", "openapi.json");
}
