// atelier tenants: tenants, their limits and their keys.
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

    public static Command Create() => new("tenants", "Creates, changes and closes tenants, and manages their keys.")
    {
        List(), Put(), Close(),
        new Command("keys", "Creates, lists and revokes a tenant's keys.") { ListKeys(), AddKey(), RevokeKey() },
    };

    private static Command List() => Verb(
        new Command("list", "Lists tenants with their limits and today's usage."),
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
            "--weight", 1.0, TenantSettings.WeightMax, "Share of the devices relative to other tenants, 1 to 1000.");
        Option<int?> requests = Choices.NumberOrNone("--requests-per-minute", 0, 1_000_000, "Requests per minute.");
        Option<int?> open = Choices.NumberOrNone(
            "--open-generations", 0, TenantSettings.OpenMax, "Maximum number of open generations.");
        Option<long?> evaluations = Choices.NumberOrNone(
            "--evaluations-per-day", 0, long.MaxValue,
            "Network evaluations per day (UTC); a picture takes about two per step.");
        Option<int?> sessions = Choices.NumberOrNone(
            "--sessions", 0, TenantSettings.SessionsMax, "Maximum number of sessions.");
        Option<int?> stored = Choices.NumberOrNone(
            "--stored-megabytes", 0, TenantSettings.StoredMegabytesMax, "Maximum MiB of stored requests and sessions.");
        var mayTrain = new Option<bool?>("--may-train")
        {
            Description = "Whether the tenant may submit training runs (true or false). Trainers read whatever folder "
                + "a run names, so the right is for trusted tenants.",
        };
        return Verb(
            new Command("put", "Creates a tenant, or changes the given settings.")
            {
                tenant, weight, requests, open, evaluations, sessions, stored, mayTrain,
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
                Set("may_train", parsed.GetValue(mayTrain));
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
                "close",
                "Closes a tenant permanently: its keys and links are rejected, and its open generations are cancelled.")
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
                    ["label", "created", "hash"],
                    [.. view["keys"]!.AsArray().Select(key => (IReadOnlyList<string>)
                        [Text(key!, "label"), Time(key!, "created_at"), Text(key!, "hash")])]);
            });
    }

    private static Command AddKey()
    {
        Argument<string> tenant = Tenant();
        Option<string> label = Choices.Text("--label", "Label that the list command shows for the key.", "key");
        return Verb(
            new Command("add", "Creates a key and prints it. It cannot be shown again.") { tenant, label },
            async (parsed, client, cancellation) =>
            {
                JsonNode made = await client.CallAsync(
                    HttpMethod.Post, $"{PathOf(parsed, tenant)}/keys",
                    new JsonObject { ["label"] = parsed.GetValue(label) }, cancellation)
                    ?? throw new UserErrorException("The cluster's response does not contain the key.");
                Output.Line(Text(made, "key"));
                Output.Remark($"Save the key: it will not be shown again. Its hash is {Text(made, "hash")}.");
            });
    }

    private static Command RevokeKey()
    {
        Argument<string> tenant = Tenant();
        var key = new Argument<string>("KEY") { Description = "The key itself, or its hash." };
        return Verb(
            new Command("revoke", "Revokes a key: it is rejected from the next request on.") { tenant, key },
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
            : throw new UserErrorException($"TENANT is \"{name}\"; a name must be {Names.Rule}.");
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

    // All of these calls are idempotent. An empty response is returned as an empty object.
    private static async Task<JsonNode> CallAsync(
        ClusterClient client, HttpMethod method, string path, JsonObject? body, CancellationToken cancellation) =>
        await client.RetryAsync(() => client.CallAsync(method, path, body, cancellation), cancellation)
            ?? new JsonObject();

    private static void Show(IReadOnlyList<IReadOnlyList<string>> rows) => Output.Table(
        ["tenant", "weight", "requests/min", "open", "max", "evaluations today", "max", "keys"], rows);

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
