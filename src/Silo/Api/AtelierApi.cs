// The silo's HTTP API: its services, middleware and routes.
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Training;
using Atelier.Grains.Blobs;
using Atelier.Silo.Api.Admin;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Api.Images;
using Atelier.Silo.Api.Models;
using Atelier.Silo.Api.Pictures;
using Atelier.Silo.Api.Sessions;
using Atelier.Silo.Api.Training;
using Atelier.Silo.Training;
using Microsoft.OpenApi;
using Scalar.AspNetCore;

namespace Atelier.Silo.Api;

/// <summary>Adds the API to a host.</summary>
internal static class AtelierApi
{
    private const string Document = "v1";
    private const string KeyScheme = "key";

    /// <summary>
    /// Adds the API's services. Grains, a blob store, <see cref="Contracts.Tenants.Tickets"/> and a clock must be
    /// registered.
    /// </summary>
    public static IServiceCollection AddAtelierApi(this IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(json => ApiJson.Configured(json.SerializerOptions));
        services.AddSingleton<ApiInstruments>();
        services.AddSingleton<GrainCaller>();
        services.AddSingleton<GenerationWatch>();
        services.AddSingleton<PlacesInQueue>();
        services.AddSingleton<AbandonedGenerations>();
        services.AddSingleton<ServerSentEvents>();
        services.AddSingleton<PictureReader>();
        services.AddSingleton<ModelResolver>();
        services.AddSingleton<Submissions>();
        services.AddSingleton<ImagesRuns>();
        services.AddSingleton<ImagesEndpoint>();
        services.AddSingleton<ModelEndpoints>();
        services.AddSingleton<SessionEndpoints>();
        services.AddSingleton<GenerationEndpoints>();
        services.AddSingleton<PictureEndpoints>();
        services.AddSingleton<AdminEndpoints>();
        services.AddSingleton<LogLimits>();
        services.AddSingleton(provider => BlobOwners.Of(
            provider.GetRequiredService<IGrainFactory>(), provider.GetRequiredService<LogLimits>(),
            provider.GetRequiredService<ILogger<BlobOwners>>()));
        services.AddSingleton<BlobEndpoints>();
        services.AddSingleton<StepHistory>();
        services.AddSingleton(provider =>
        {
            (GrainCaller calls, IGrainFactory grains) = (
                provider.GetRequiredService<GrainCaller>(), provider.GetRequiredService<IGrainFactory>());
            return new RunWatch(
                run => calls.CallAsync(() => grains.GetGrain<ITrainingRunGrain>(run.Value).ViewAsync()),
                provider.GetRequiredService<StepHistory>(), provider.GetRequiredService<TimeProvider>());
        });
        services.AddSingleton<RunEndpoints>();
        services.AddSingleton<TrainingDataEndpoints>();
        services.AddSingleton<Publications>();
        services.AddSingleton<PublishEndpoints>();
        services.AddOpenApi(Document, options => options
            .AddDocumentTransformer((document, _, _) =>
            {
                Describe(document);
                return Task.CompletedTask;
            })
            .AddOperationTransformer((operation, context, _) =>
            {
                // An empty list overrides the document's security requirement: the operation needs no key.
                IList<object> metadata = context.Description.ActionDescriptor.EndpointMetadata;
                if (metadata.Contains(new AudienceMetadata(Audience.Holders)))
                {
                    operation.Security = [];
                }

                return Task.CompletedTask;
            }));
        return services;
    }

    /// <summary>Maps the API, its OpenAPI document at /openapi/v1.json and a page to read it at /docs.</summary>
    public static WebApplication MapAtelierApi(this WebApplication app)
    {
        app.UseMiddleware<HeadMiddleware>();
        app.UseRouting();
        app.UseMiddleware<ApiMiddleware>();
        app.UseMiddleware<TicketMiddleware>();
        app.UseWhen(
            context => context.Request.Path.StartsWithSegments("/docs", StringComparison.OrdinalIgnoreCase),
            docs => docs.Use(AddDocsRulesAsync));
        RouteGroupBuilder routes = app.MapGroup("/v1");
        ImagesEndpoint.Map(routes);
        ModelEndpoints.Map(routes);
        SessionEndpoints.Map(routes);
        GenerationEndpoints.Map(routes);
        PictureEndpoints.Map(routes);
        AdminEndpoints.Map(routes);
        BlobEndpoints.Map(routes);
        RunEndpoints.Map(routes);
        TrainingDataEndpoints.Map(routes);
        PublishEndpoints.Map(routes);
        app.MapOpenApi($"/openapi/{Document}.json");

        // The reference page loads nothing from other servers.
        app.MapScalarApiReference("/docs", options => options
            .WithTitle("Atelier").WithOpenApiRoutePattern("/openapi/{documentName}.json").WithNonce()
            .DisableDefaultFonts().DisableTelemetry().DisableAgent());
        return app;
    }

    // The reference page has the same origin as the gateway's web page, which stores the user's key, so only its own
    // scripts may run. It needs inline styles.
    private static Task AddDocsRulesAsync(HttpContext context, RequestDelegate next)
    {
        context.Response.OnStarting(() =>
        {
            string nonce = context.Items[ScalarOptions.NonceHttpContextItemKey] is string fresh
                ? $" 'nonce-{fresh}'" : "";
            context.Response.Headers.ContentSecurityPolicy =
                $"default-src 'none'; script-src 'self'{nonce}; style-src 'self' 'unsafe-inline'; "
                + "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; "
                + "form-action 'none'; frame-ancestors 'none'";
            return Task.CompletedTask;
        });
        return next(context);
    }

    private static void Describe(OpenApiDocument document)
    {
        document.Info = new OpenApiInfo
        {
            Title = "Atelier",
            Version = Document,
            Description = "Draws pictures from text. All routes return errors in OpenAI's format; every "
                + "response has an x-request-id.",
        };
        document.Servers = [];
        document.Components ??= new OpenApiComponents();
        document.Components.SecuritySchemes = new Dictionary<string, IOpenApiSecurityScheme>(StringComparer.Ordinal)
        {
            [KeyScheme] = new OpenApiSecurityScheme
            {
                Type = SecuritySchemeType.Http, Scheme = "bearer",
                Description = "A tenant's key, or the administrator's.",
            },
        };
        document.Security =
            [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(KeyScheme, document)] = [] }];
    }
}
