// The proxy's configuration: a fixed set of routes to the current silos.
using System.Text;
using Atelier.Contracts.Cluster;
using Atelier.Gateway.Settings;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Health;
using Yarp.ReverseProxy.LoadBalancing;

namespace Atelier.Gateway.Routing;

/// <summary>Routes and clusters of the proxy.</summary>
internal sealed class Routes(GatewaySettings settings)
{
    /// <summary>Metadata key of routes whose requests need no API key.</summary>
    public const string Open = "open";

    /// <summary>Metadata key of routes whose responses are streams that clients resume by themselves.</summary>
    public const string Resumable = "resumable";

    /// <summary>Metadata key of routes whose paths end with a name that is free text.</summary>
    public const string FreeText = "freetext";

    /// <summary>Metadata key of routes on which an administrator may send larger bodies.</summary>
    public const string Large = "large";

    /// <summary>Name of the proxy's cluster of all silos, for requests that do not wait for a picture.</summary>
    public const string Silos = "silos";

    private const string Drawing = "drawing";

    // Streams send something at least every 15 seconds.
    private static readonly TimeSpan s_silenceMax = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_reactivation = TimeSpan.FromSeconds(2);

    // A silo that hangs is noticed within 2 seconds, one that is no longer ready within half a second.
    private static readonly TimeSpan s_probePeriod = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan s_probeTimeout = TimeSpan.FromSeconds(1.5);

    /// <summary>Gets the routes. Those not marked as <see cref="Open"/> require a key.</summary>
    public static IReadOnlyList<RouteConfig> All { get; } =
    [
        Route("openapi", "/openapi/{**rest}", Silos, [HttpMethods.Get, HttpMethods.Head], Open),
        Route("docs", "/docs/{**rest}", Silos, [HttpMethods.Get, HttpMethods.Head], Open),
        Route("links", "/v1/pictures/{token}", Silos, [HttpMethods.Get, HttpMethods.Head], Open),
        Route("events", "/v1/generations/{id}/events", Silos, null, Resumable),
        Route("run-events", "/v1/training/runs/{id}/events", Silos, null, Resumable),
        Route("images", "/v1/images/{**rest}", Drawing, null, null),
        Route("data", "/v1/training/data/{**rest}", Silos, null, Large),
        Route("models", "/v1/models/{**name}", Silos, null, FreeText),
        Route("api", "/v1/{**rest}", Silos, null, null),
    ];

    /// <summary>
    /// The proxy's clusters. Both consist of the same silos; the one for requests that wait for pictures has a longer
    /// timeout.
    /// </summary>
    public IReadOnlyList<ClusterConfig> Clusters(IEnumerable<SiloEndpoint> silos)
    {
        var destinations = silos.ToDictionary(
            silo => silo.Name, silo => new DestinationConfig { Address = silo.Address }, StringComparer.Ordinal);
        return [Cluster(Silos, s_silenceMax, destinations), Cluster(Drawing, settings.PictureTimeout, destinations)];
    }

    /// <summary>Whether a request's route has the given key in its metadata.</summary>
    public static bool Is(HttpContext context, string mark) =>
        context.GetReverseProxyFeature().Route.Config.Metadata?.ContainsKey(mark) == true;

    private static RouteConfig Route(string name, string path, string cluster, string[]? methods, string? mark) => new()
    {
        RouteId = name,
        ClusterId = cluster,
        Match = new RouteMatch { Path = path, Methods = methods },
        Metadata = mark is null ? null : new Dictionary<string, string>(StringComparer.Ordinal) { [mark] = "true" },
    };

    private static ClusterConfig Cluster(
        string name, TimeSpan silenceMax, Dictionary<string, DestinationConfig> destinations) =>
        new()
        {
            ClusterId = name,
            LoadBalancingPolicy = LoadBalancingPolicies.PowerOfTwoChoices,
            Destinations = destinations,
            Metadata = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                [ConsecutiveFailuresHealthPolicyOptions.ThresholdMetadataName] = "1",
            },
            HealthCheck = new HealthCheckConfig
            {
                AvailableDestinationsPolicy = HealthCheckConstants.AvailableDestinations.HealthyOrPanic,
                Passive = new PassiveHealthCheckConfig
                {
                    Enabled = true, Policy = FirstFailurePolicy.PolicyName, ReactivationPeriod = s_reactivation,
                },
                Active = new ActiveHealthCheckConfig
                {
                    Enabled = true, Policy = HealthCheckConstants.ActivePolicy.ConsecutiveFailures,
                    Path = "/health/ready", Interval = s_probePeriod, Timeout = s_probeTimeout,
                },
            },

            // The gateway's own web server reads headers in this encoding too, and refuses bytes that are not UTF-8.
            HttpClient = new HttpClientConfig { RequestHeaderEncoding = Encoding.UTF8.WebName },
            HttpRequest = new ForwarderRequestConfig
            {
                Version = System.Net.HttpVersion.Version11,
                VersionPolicy = HttpVersionPolicy.RequestVersionExact,
                ActivityTimeout = silenceMax,
                AllowResponseBuffering = false,
            },
        };
}
