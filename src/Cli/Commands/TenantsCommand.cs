// atelier tenants: who may draw, how much, and with what keys.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Atelier.Cli.Cluster;
using Atelier.Contracts;
using Atelier.Contracts.Tenants;

namespace Atelier.Cli.Commands;

internal static class TenantsCommand
{
    private const string Route = "/v1/admin/tenants";

    public static Command Create() => new("tenants", "Makes, changes and closes tenants, and their keys.")
    {
        List(), Put(), Close(),
        new Command("keys", "Makes, lists and revokes a tenant's keys.") { ListKeys(), AddKey(), RevokeKey() },
    };

    private static Command List() => Verb(
        new Command("list", "Lists tenants with what they may do and what they did today."),
        async (_, client, cancellation) =>
        {
            var rows = new List<IReadOnlyList<string>>();
            for (string? after = ""; after is not null;)
            {
                JsonNode part = await CallAsync(
                    client, HttpMethod.Get, $"{Route}?after={Uri.EscapeDataString(after)}", null, cancellation);
                rows.AddRange(part["items"]!.AsArray().Select(tenant => Row(tenant!)));
                after = part["next"]?.GetValue<string>();
            }

            Show(rows);
        });

    private static Command Put()
    {
        Argument<string> tenant = Tenant();
        Option<double?> weight = Choices.NumberOrNone(
            "--weight", 1.0, TenantSettings.WeightMax, "Share of the devices against other tenants', 1 to 1000.");
        Option<int?> requests = Choices.NumberOrNone("--requests-per-minute", 0, 1_000_000, "Requests a minute.");
        Option<int?> open = Choices.NumberOrNone(
            "--open-generations", 0, TenantSettings.OpenMax, "Generations open at a time.");
        Option<long?> evaluations = Choices.NumberOrNone(
            "--evaluations-per-day", 0, long.MaxValue,
            "Evaluations of the network in a day (UTC); a picture takes about two a step.");
        Option<int?> sessions = Choices.NumberOrNone(
            "--sessions", 0, TenantSettings.SessionsMax, "Sessions at a time.");
        Option<int?> stored = Choices.NumberOrNone(
            "--stored-megabytes", 0, TenantSettings.StoredMegabytesMax, "MiB of stored requests and sessions.");
        return Verb(
            new Command("put", "Makes a tenant, or changes what is named of it.")
            {
                tenant, weight, requests, open, evaluations, sessions, stored,
            },
            async (parsed, client, cancellation) =>
            {
                var body = new JsonObject();
                Set("weight", parsed.GetValue(weight));
                Set("requests_per_minute", parsed.GetValue(requests));
                Set("open_generations", parsed.GetValue(open));
                Set("evaluations_per_day", parsed.GetValue(evaluations));
                Set("sessions", parsed.GetValue(sessions));
                Set("stored_megabytes", parsed.GetValue(stored));
                Show([Row(await CallAsync(client, HttpMethod.Put, PathOf(parsed, tenant), body, cancellation))]);

                void Set<T>(string member, T? value) where T : struct
                {
                    if (value is { } given)
                    {
                        body[member] = JsonValue.Create(given);
                    }
                }
            });
    }

    private static Command Close()
    {
        Argument<string> tenant = Tenant();
        return Verb(
            new Command(
                "close", "Closes a tenant for good: its keys and links are refused, and what it has open is cancelled.")
            {
                tenant,
            },
            async (parsed, client, cancellation) =>
            {
                await CallAsync(client, HttpMethod.Delete, PathOf(parsed, tenant), null, cancellation);
                Output.Remark($"{parsed.GetValue(tenant)} is closed.");
            });
    }

    private static Command ListKeys()
    {
        Argument<string> tenant = Tenant();
        return Verb(
            new Command("list", "Lists a tenant's keys: their labels and hashes.") { tenant },
            async (parsed, client, cancellation) =>
            {
                JsonNode view = await CallAsync(client, HttpMethod.Get, PathOf(parsed, tenant), null, cancellation);
                Output.Table(
                    ["label", "made", "hash"],
                    [.. view["keys"]!.AsArray().Select(key => (IReadOnlyList<string>)
                        [Text(key!, "label"), Time(key!, "created_at"), Text(key!, "hash")])]);
            });
    }

    private static Command AddKey()
    {
        Argument<string> tenant = Tenant();
        Option<string> label = Choices.Text("--label", "What the key is called in lists.", "key");
        return Verb(
            new Command("add", "Makes a key and prints it: this once, it cannot be shown again.") { tenant, label },
            async (parsed, client, cancellation) =>
            {
                JsonNode made = await client.CallAsync(
                    HttpMethod.Post, $"{PathOf(parsed, tenant)}/keys",
                    new JsonObject { ["label"] = parsed.GetValue(label) }, cancellation)
                    ?? throw new UserErrorException("The cluster did not say what the key is.");
                Output.Line(Text(made, "key"));
                Output.Remark($"Keep it: it is not shown again. Its hash is {Text(made, "hash")}.");
            });
    }

    private static Command RevokeKey()
    {
        Argument<string> tenant = Tenant();
        var key = new Argument<string>("KEY") { Description = "The key itself, or its hash." };
        return Verb(
            new Command("revoke", "Revokes a key: it is refused from the next request on.") { tenant, key },
            async (parsed, client, cancellation) =>
            {
                string text = parsed.GetRequiredValue(key), hash = ApiKey.TryParse(text, out _)
                    ? ApiKey.HashOf(text)
                    : text;
                if (!Digests.AreValid(hash))
                {
                    throw new UserErrorException(
                        "KEY is neither a key nor a hash, which has 64 digits of 0-9 and a-f.");
                }

                await CallAsync(client, HttpMethod.Delete, $"{PathOf(parsed, tenant)}/keys/{hash}", null, cancellation);
                Output.Remark("The key is revoked.");
            });
    }

    private static Argument<string> Tenant() => new("TENANT") { Description = "The tenant's name." };

    private static string PathOf(ParseResult parsed, Argument<string> tenant)
    {
        string name = parsed.GetRequiredValue(tenant);
        return Names.AreValid(name)
            ? $"{Route}/{name}"
            : throw new UserErrorException($"TENANT is \"{name}\"; a name has {Names.Rule}.");
    }

    private static Command Verb(Command command, Func<ParseResult, ClusterClient, CancellationToken, Task> action)
    {
        var cluster = new ClusterOptions();
        cluster.AddTo(command).SetAction(async (parsed, cancellation) =>
        {
            using ClusterClient client = cluster.Connect(parsed);
            await action(parsed, client, cancellation);
            return 0;
        });
        return command;
    }

    // All of these say the same when they are said twice. An empty answer is an empty object here.
    private static async Task<JsonNode> CallAsync(
        ClusterClient client, HttpMethod method, string path, JsonObject? body, CancellationToken cancellation) =>
        await client.PatientlyAsync(() => client.CallAsync(method, path, body, cancellation), cancellation)
            ?? new JsonObject();

    private static void Show(IReadOnlyList<IReadOnlyList<string>> rows) => Output.Table(
        ["tenant", "weight", "requests/min", "open", "of", "evaluations today", "of", "keys"], rows);

    private static IReadOnlyList<string> Row(JsonNode tenant) =>
    [
        Text(tenant, "id"), Text(tenant, "weight"), Text(tenant, "requests_per_minute"), Text(tenant, "open"),
        Text(tenant, "open_generations"), Text(tenant, "evaluations_today"), Text(tenant, "evaluations_per_day"),
        $"{(tenant["keys"] as JsonArray)?.Count ?? 0}",
    ];

    private static string Text(JsonNode node, string member) => node[member]?.ToString() ?? "";

    private static string Time(JsonNode node, string member) =>
        DateTimeOffset.TryParse(Text(node, member), CultureInfo.InvariantCulture, out DateTimeOffset time)
            ? time.ToLocalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) : "";
}
