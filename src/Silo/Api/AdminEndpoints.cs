// What the administrator does: tenants, their keys and limits; and a look at the cluster.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.Grains;

namespace Atelier.Silo.Api;

/// <summary>What a tenant may do. What is left out stays as it is, or is the standard for a new tenant.</summary>
internal sealed record TenantBody
{
    /// <summary>Share of the devices against other tenants', 1 to 1000.</summary>
    public double? Weight { get; init; }

    /// <summary>Requests a minute.</summary>
    public int? RequestsPerMinute { get; init; }

    /// <summary>Generations open at a time.</summary>
    public int? OpenGenerations { get; init; }

    /// <summary>Evaluations of a network in a day (UTC).</summary>
    public long? EvaluationsPerDay { get; init; }

    /// <summary>Sessions at a time.</summary>
    public int? Sessions { get; init; }

    /// <summary>MiB of stored states: requests, open or ended and kept, and sessions.</summary>
    public int? StoredMegabytes { get; init; }
}

/// <summary>A request for a key.</summary>
internal sealed record KeyBody
{
    /// <summary>What the key is called, 1 to 100 characters.</summary>
    public required string Label { get; init; }
}

/// <summary>A tenant.</summary>
/// <param name="Id">Its name.</param>
/// <param name="Weight">Share of the devices against other tenants'.</param>
/// <param name="RequestsPerMinute">Requests a minute.</param>
/// <param name="OpenGenerations">Generations that it may have open.</param>
/// <param name="EvaluationsPerDay">Evaluations of a network that it may use in a day.</param>
/// <param name="Sessions">Sessions that it may have.</param>
/// <param name="StoredMegabytes">MiB of states that it may keep stored.</param>
/// <param name="Keys">Its keys, without what is secret of them.</param>
/// <param name="Open">Generations open now.</param>
/// <param name="EvaluationsToday">Evaluations used today.</param>
internal sealed record TenantShape(
    string Id, double Weight, int RequestsPerMinute, int OpenGenerations, long EvaluationsPerDay, int Sessions, int StoredMegabytes,
    KeyShape[] Keys, int Open, long EvaluationsToday)
{
    public static TenantShape Of(TenantView view) => new(
        view.Id.Name, view.Settings.Weight, view.Settings.RequestsPerMinute, view.Settings.OpenGenerations,
        view.Settings.EvaluationsPerDay, view.Settings.Sessions, view.Settings.StoredMegabytes,
        [.. view.Keys.Select(key => new KeyShape(key.Label, key.Hash, key.CreatedAt))], view.Open,
        view.EvaluationsToday);
}

/// <summary>A key as it may be shown again.</summary>
/// <param name="Label">What it is called.</param>
/// <param name="Hash">Its SHA-256, by which it is revoked.</param>
/// <param name="CreatedAt">When it was made.</param>
internal sealed record KeyShape(string Label, string Hash, DateTimeOffset CreatedAt);

/// <summary>A new key.</summary>
/// <param name="Key">The key itself, shown this once.</param>
/// <param name="Label">What it is called.</param>
/// <param name="Hash">Its SHA-256, by which it is revoked.</param>
internal sealed record NewKeyShape(string Key, string Label, string Hash);

/// <summary>A part of the list of tenants, by name.</summary>
/// <param name="Items">The tenants.</param>
/// <param name="Next">The name after which the next part begins; null at the end.</param>
internal sealed record TenantsShape(TenantShape[] Items, string? Next);

/// <summary>The cluster.</summary>
/// <param name="Silos">Silos that are alive.</param>
/// <param name="Workers">Workers that answer.</param>
/// <param name="Queues">The models' queues.</param>
internal sealed record StatusShape(SiloShape[] Silos, WorkerShape[] Workers, QueueShape[] Queues);

/// <summary>A silo.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Address">Where its HTTP API listens.</param>
internal sealed record SiloShape(string Name, string Address);

/// <summary>A worker.</summary>
/// <param name="Name">Silo and device.</param>
/// <param name="DeviceKind">Its device kind.</param>
/// <param name="Roles">What it does: encode, denoise, decode.</param>
/// <param name="Slots">Pictures that it can denoise together.</param>
/// <param name="Held">Work that it holds.</param>
/// <param name="Model">Digest of the model in memory, if any.</param>
/// <param name="Draining">Whether it takes no more work.</param>
internal sealed record WorkerShape(
    string Name, string DeviceKind, string[] Roles, int Slots, int Held, string? Model, bool Draining);

/// <summary>A model's queue.</summary>
/// <param name="Model">The model's digest.</param>
/// <param name="Name">The model's name.</param>
/// <param name="Waiting">Pieces of work that wait.</param>
/// <param name="Leased">Pieces of work that workers hold.</param>
/// <param name="Tenants">Tenants with work.</param>
/// <param name="CostWaiting">Predicted operations of what waits.</param>
/// <param name="CostPerSecond">Operations granted a second, lately.</param>
internal sealed record QueueShape(
    string Model, string Name, int Waiting, int Leased, int Tenants, double CostWaiting, double CostPerSecond);

/// <summary>The administrator's routes.</summary>
internal sealed class AdminEndpoints(IGrainFactory grains, GrainCaller calls, Models models)
{
    private const int CountMax = 100;
    private const int LabelLengthMax = 100;

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/admin").WithTags("Administration").For(Audience.Administrators);
        group.MapGet("status", (AdminEndpoints endpoints) => endpoints.StatusAsync())
            .WithSummary("Silos, workers and queues.").Produces<StatusShape>();
        group.MapGet(
            "tenants", (string? after, string? count, AdminEndpoints endpoints) => endpoints.ListAsync(after, count))
            .WithSummary("Tenants by name: those after a name, 1 to 100 at a time.")
            .Produces<TenantsShape>().Produces<ErrorBody>(400);
        group.MapGet("tenants/{tenant}", (string tenant, AdminEndpoints endpoints) => endpoints.GetAsync(tenant))
            .WithSummary("A tenant.").Produces<TenantShape>().Produces<ErrorBody>(404);
        group.MapPut(
            "tenants/{tenant}", (HttpContext context, string tenant, AdminEndpoints endpoints) =>
                endpoints.PutAsync(context, tenant))
            .WithSummary("Makes a tenant, or changes what it may do.")
            .Accepts<TenantBody>(isOptional: true, "application/json").Produces<TenantShape>().Produces<ErrorBody>(400);
        group.MapDelete("tenants/{tenant}", (string tenant, AdminEndpoints endpoints) => endpoints.CloseAsync(tenant))
            .WithSummary("Closes a tenant for good: its keys and links are refused, and what it has open is cancelled.")
            .Produces(204).Produces<ErrorBody>(404);
        group.MapPost("tenants/{tenant}/keys", (HttpContext context, string tenant, AdminEndpoints endpoints) =>
                endpoints.AddKeyAsync(context, tenant))
            .WithSummary("Makes a key. It is shown this once.")
            .Accepts<KeyBody>("application/json").Produces<NewKeyShape>(201).Produces<ErrorBody>(400)
            .Produces<ErrorBody>(404);
        group.MapDelete("tenants/{tenant}/keys/{hash}", (string tenant, string hash, AdminEndpoints endpoints) =>
                endpoints.RevokeKeyAsync(tenant, hash))
            .WithSummary("Revokes a key: it is refused from the next request on.")
            .Produces(204).Produces<ErrorBody>(404);
    }

    private async Task<IResult> StatusAsync()
    {
        IClusterGrain cluster = grains.GetGrain<IClusterGrain>(0);
        SiloEndpoint[] silos = await calls.CallAsync(() => cluster.SilosAsync());
        WorkerStatus[] workers = await calls.CallAsync(() => cluster.WorkersAsync());
        QueueShape[] queues = await Task.WhenAll((await models.ListAsync()).Select(QueueAsync));
        return TypedResults.Ok(new StatusShape(
            [.. silos.Select(silo => new SiloShape(silo.Name, silo.Address))], [.. workers.Select(WorkerOf)], queues));
    }

    private async Task<QueueShape> QueueAsync(ModelCard card)
    {
        QueueStatus status = await calls.CallAsync(() => grains.WorkQueue().StatusOfAsync(card.Digest));
        return new QueueShape(
            card.Digest.Value, card.Name, status.Waiting, status.Leased, status.Tenants, status.CostWaiting,
            status.CostPerSecond);
    }

    private async Task<IResult> ListAsync(string? after, string? countText)
    {
        int count = CountMax;
        if (countText is not null
            && !(int.TryParse(countText, NumberStyles.None, CultureInfo.InvariantCulture, out count)
                && count is >= 1 and <= CountMax))
        {
            return ApiError.Invalid("count", "invalid_value", $"'count' must be a whole number in 1..{CountMax}.");
        }

        TenantId[][] parts = await Task.WhenAll(Enumerable.Range(0, ITenantListGrain.Partitions)
            .Select(part => calls.CallAsync(() => grains.GetGrain<ITenantListGrain>(part).ReadAsync())));
        TenantId[] rest =
        [
            .. parts.SelectMany(part => part).Where(one => string.CompareOrdinal(one.Value, after) > 0)
                .OrderBy(one => one.Value, StringComparer.Ordinal),
        ];
        TenantId[] shown = rest.Length > count ? rest[..count] : rest;
        TenantView?[] views = await Task.WhenAll(
            shown.Select(one => calls.CallAsync(() => grains.Tenant(one).ViewAsync())));
        return TypedResults.Ok(new TenantsShape(
            [.. views.OfType<TenantView>().Select(TenantShape.Of)], rest.Length > count ? shown[^1].Value : null));
    }

    private async Task<IResult> GetAsync(string name) => TypedResults.Ok(TenantShape.Of(await FindAsync(name)));

    private async Task<IResult> PutAsync(HttpContext context, string name)
    {
        JsonFields fields = await RequestBody.FieldsAsync<TenantBody>(context.Request);
        if (!Names.AreValid(name))
        {
            return ApiError.Invalid("tenant", "invalid_value", $"A tenant's name must have {Names.Rule}.");
        }

        var tenant = new TenantId(name);
        TenantView? known = await calls.CallAsync(() => grains.Tenant(tenant).ViewAsync());
        TenantSettings old = known?.Settings ?? new TenantSettings();
        var settings = new TenantSettings
        {
            Weight = fields.Number("weight", 1, TenantSettings.WeightMax) ?? old.Weight,
            RequestsPerMinute = (int)(fields.Whole("requests_per_minute", 0, 1_000_000) ?? old.RequestsPerMinute),
            OpenGenerations = (int)(fields.Whole("open_generations", 0, TenantSettings.OpenMax) ?? old.OpenGenerations),
            EvaluationsPerDay = fields.Whole("evaluations_per_day", 0, long.MaxValue) ?? old.EvaluationsPerDay,
            Sessions = (int)(fields.Whole("sessions", 0, TenantSettings.SessionsMax) ?? old.Sessions),
            StoredMegabytes =
                (int)(fields.Whole("stored_megabytes", 0, TenantSettings.StoredMegabytesMax) ?? old.StoredMegabytes),
        };
        TenantAnswer answer = await calls.CallAsync(() => grains.Tenant(tenant).PutAsync(settings));
        return answer.View is { } view ? TypedResults.Ok(TenantShape.Of(view)) : Refused(answer);
    }

    private async Task<IResult> CloseAsync(string name)
    {
        TenantId tenant = (await FindAsync(name)).Id;
        await calls.CallAsync(() => grains.Tenant(tenant).CloseAsync());
        return TypedResults.NoContent();
    }

    private async Task<IResult> AddKeyAsync(HttpContext context, string name)
    {
        JsonFields fields = await RequestBody.FieldsAsync<KeyBody>(context.Request);
        if (fields.Text("label", LabelLengthMax) is not { Length: > 0 } label)
        {
            return ApiError.Invalid(
                "label", "missing_required_parameter", $"'label' must be text of 1 to {LabelLengthMax} characters.");
        }

        TenantId tenant = (await FindAsync(name)).Id;
        string key = ApiKey.New(tenant), hash = ApiKey.HashOf(key);
        TenantAnswer answer = await calls.CallAsync(() => grains.Tenant(tenant).AddKeyAsync(label, hash));
        context.Response.Headers.CacheControl = "no-store";
        return answer.View is null
            ? Refused(answer)
            : TypedResults.Created($"/v1/admin/tenants/{tenant.Name}/keys/{hash}", new NewKeyShape(key, label, hash));
    }

    private async Task<IResult> RevokeKeyAsync(string name, string hash)
    {
        TenantView view = await FindAsync(name);
        if (!Array.Exists(view.Keys, key => key.Hash == hash))
        {
            return ApiError.NotFound("key of this tenant");
        }

        await calls.CallAsync(() => grains.Tenant(view.Id).RevokeKeyAsync(hash));
        return TypedResults.NoContent();
    }

    private async Task<TenantView> FindAsync(string name)
    {
        TenantView? view = Names.AreValid(name)
            ? await calls.CallAsync(() => grains.Tenant(new TenantId(name)).ViewAsync())
            : null;
        return view ?? throw new ApiException(ApiError.NotFound("tenant"));
    }

    private static ApiError Refused(TenantAnswer answer) =>
        ApiError.Invalid(null, "invalid_value", answer.Message ?? "This was refused.");

    private static WorkerShape WorkerOf(WorkerStatus worker) => new(
        worker.Key.ToString(), worker.DeviceKind,
        [.. Enum.GetValues<WorkRoles>().Where(
            role => role is not (WorkRoles.None or WorkRoles.All) && worker.Roles.HasFlag(role)).Select(
                ApiJson.NameOf)],
        worker.Slots, worker.Held, worker.Model?.Value, worker.Draining);
}
