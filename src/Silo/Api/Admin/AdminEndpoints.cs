// The administrator's routes: tenants, their keys and limits, and the state of the cluster.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Cluster;
using Atelier.Contracts.Models;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Workers;
using Atelier.Grains;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Models;

namespace Atelier.Silo.Api.Admin;

/// <summary>Handlers of /v1/admin.</summary>
internal sealed class AdminEndpoints(IGrainFactory grains, GrainCaller calls, ModelResolver models)
{
    private const int CountMax = 100;
    private const int LabelLengthMax = 100;

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/admin").WithTags("Administration").For(Audience.Administrators);
        group.MapGet("status", (AdminEndpoints endpoints) => endpoints.StatusAsync())
            .WithName("retrieveStatus")
            .WithSummary("Returns the cluster's silos, workers and queues.").Produces<StatusResponse>();
        group.MapGet(
            "tenants", (string? after, string? count, AdminEndpoints endpoints) => endpoints.ListAsync(after, count))
            .WithName("listTenants")
            .WithSummary("Lists tenants in order of name, starting after a given name, 1 to 100 at a time.")
            .Produces<TenantListResponse>().Refuses(400);
        group.MapGet("tenants/{tenant}", (string tenant, AdminEndpoints endpoints) => endpoints.GetAsync(tenant))
            .WithName("retrieveTenant")
            .WithSummary("Returns a tenant.").Produces<TenantResponse>().Refuses(404);
        group.MapPut(
            "tenants/{tenant}", (HttpContext context, string tenant, AdminEndpoints endpoints) =>
                endpoints.PutAsync(context, tenant))
            .WithName("putTenant")
            .WithSummary("Creates a tenant, or changes its limits.")
            .Accepts<PutTenantRequest>(isOptional: true, "application/json").Produces<TenantResponse>().Refuses(400);
        group.MapDelete("tenants/{tenant}", (string tenant, AdminEndpoints endpoints) => endpoints.CloseAsync(tenant))
            .WithName("closeTenant")
            .WithSummary(
                "Closes a tenant permanently: its keys and links are refused and its open generations are cancelled.")
            .Produces(204).Refuses(404);
        group.MapPost("tenants/{tenant}/keys", (HttpContext context, string tenant, AdminEndpoints endpoints) =>
                endpoints.AddKeyAsync(context, tenant))
            .WithName("createKey")
            .WithSummary("Creates a key. Only this response shows the key.")
            .Accepts<CreateKeyRequest>("application/json").Produces<NewKeyResponse>(201).Refuses(400, 404);
        group.MapDelete("tenants/{tenant}/keys/{hash}", (string tenant, string hash, AdminEndpoints endpoints) =>
                endpoints.RevokeKeyAsync(tenant, hash))
            .WithName("revokeKey")
            .WithSummary("Revokes a key. Requests with it are refused from now on.")
            .Produces(204).Refuses(404);
    }

    private async Task<IResult> StatusAsync()
    {
        IClusterGrain cluster = grains.GetGrain<IClusterGrain>(0);
        SiloEndpoint[] silos = await calls.CallAsync(() => cluster.SilosAsync());
        WorkerStatus[] workers = await calls.CallAsync(() => cluster.WorkersAsync());
        QueueResponse[] queues = await Task.WhenAll((await models.ListAsync()).Select(QueueAsync));
        return TypedResults.Ok(new StatusResponse(
            [.. silos.Select(silo => new SiloResponse(silo.Name, silo.Address))], [.. workers.Select(WorkerOf)],
            queues));
    }

    private async Task<QueueResponse> QueueAsync(ModelCard card)
    {
        QueueStatus status = await calls.CallAsync(() => grains.WorkQueue().StatusOfAsync(card.Digest));
        return new QueueResponse(
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
        return TypedResults.Ok(new TenantListResponse(
            [.. views.OfType<TenantView>().Select(TenantResponse.Of)], rest.Length > count ? shown[^1].Value : null));
    }

    private async Task<IResult> GetAsync(string name) => TypedResults.Ok(TenantResponse.Of(await FindAsync(name)));

    private async Task<IResult> PutAsync(HttpContext context, string name)
    {
        JsonFields fields = await RequestBody.FieldsAsync<PutTenantRequest>(context.Request);
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
            MayTrain = fields.Flag("may_train") ?? old.MayTrain,
        };
        TenantAnswer answer = await calls.CallAsync(() => grains.Tenant(tenant).PutAsync(settings));
        return answer.View is { } view ? TypedResults.Ok(TenantResponse.Of(view)) : Refused(answer);
    }

    private async Task<IResult> CloseAsync(string name)
    {
        TenantId tenant = (await FindAsync(name)).Id;
        await calls.CallAsync(() => grains.Tenant(tenant).CloseAsync());
        return TypedResults.NoContent();
    }

    private async Task<IResult> AddKeyAsync(HttpContext context, string name)
    {
        JsonFields fields = await RequestBody.FieldsAsync<CreateKeyRequest>(context.Request);
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
            : TypedResults.Created(
                $"/v1/admin/tenants/{tenant.Name}/keys/{hash}", new NewKeyResponse(key, label, hash));
    }

    private async Task<IResult> RevokeKeyAsync(string name, string hash)
    {
        TenantView view = await FindAsync(name);
        if (!Array.Exists(view.Keys, key => key.Hash == hash))
        {
            return ApiError.NotFound("key for this tenant");
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
        ApiError.Invalid(null, "invalid_value", answer.Message ?? "The request was refused.");

    private static WorkerResponse WorkerOf(WorkerStatus worker) => new(
        worker.Key.ToString(), worker.DeviceKind,
        [.. Enum.GetValues<WorkRoles>().Where(
            role => role is not (WorkRoles.None or WorkRoles.All) && worker.Roles.HasFlag(role)).Select(
                ApiJson.NameOf)],
        worker.Slots, worker.Held, worker.Model?.Value, worker.Draining);
}
