// The parts of custom resources that the chart sets. Strict parsing refuses all others.
using k8s;
using k8s.Models;

namespace Atelier.Helm.Tests;

internal abstract class CustomResource : IKubernetesObject<V1ObjectMeta>
{
    public string ApiVersion { get; set; } = "";

    public string Kind { get; set; } = "";

    public V1ObjectMeta Metadata { get; set; } = new();
}

internal sealed class ScaledObject : CustomResource
{
    public ScaledObjectSpec Spec { get; set; } = new();
}

internal sealed class ScaledObjectSpec
{
    public V2CrossVersionObjectReference ScaleTargetRef { get; set; } = new();

    public int MinReplicaCount { get; set; }

    public int MaxReplicaCount { get; set; }

    public int CooldownPeriod { get; set; }

    public int PollingInterval { get; set; }

    public ScaledObjectFallback? Fallback { get; set; }

    public ScaledObjectAdvanced? Advanced { get; set; }

    public IList<ScaledObjectTrigger> Triggers { get; set; } = [];
}

internal sealed class ScaledObjectFallback
{
    public int FailureThreshold { get; set; }

    public int Replicas { get; set; }
}

internal sealed class ScaledObjectAdvanced
{
    public HorizontalPodAutoscalerConfig? HorizontalPodAutoscalerConfig { get; set; }
}

internal sealed class HorizontalPodAutoscalerConfig
{
    public V2HorizontalPodAutoscalerBehavior? Behavior { get; set; }
}

internal sealed class ScaledObjectTrigger
{
    public string Type { get; set; } = "";

    public string MetricType { get; set; } = "";

    public IDictionary<string, string> Metadata { get; set; } = new Dictionary<string, string>();
}

internal sealed class HttpRoute : CustomResource
{
    public HttpRouteSpec Spec { get; set; } = new();
}

internal sealed class HttpRouteSpec
{
    public IList<HttpRouteParent> ParentRefs { get; set; } = [];

    public IList<string> Hostnames { get; set; } = [];

    public IList<HttpRouteRule> Rules { get; set; } = [];
}

internal sealed class HttpRouteParent
{
    public string? Group { get; set; }

    public string? Kind { get; set; }

    public string? Namespace { get; set; }

    public string Name { get; set; } = "";

    public string? SectionName { get; set; }

    public int? Port { get; set; }
}

internal sealed class HttpRouteRule
{
    public IList<HttpRouteMatch> Matches { get; set; } = [];

    public HttpRouteTimeouts? Timeouts { get; set; }

    public IList<HttpRouteBackend> BackendRefs { get; set; } = [];
}

internal sealed class HttpRouteMatch
{
    public HttpRoutePath? Path { get; set; }
}

internal sealed class HttpRoutePath
{
    public string Type { get; set; } = "";

    public string Value { get; set; } = "";
}

internal sealed class HttpRouteTimeouts
{
    public string? Request { get; set; }
}

internal sealed class HttpRouteBackend
{
    public string Name { get; set; } = "";

    public int Port { get; set; }
}

internal sealed class ServiceMonitor : CustomResource
{
    public ServiceMonitorSpec Spec { get; set; } = new();
}

internal sealed class ServiceMonitorSpec
{
    public V1LabelSelector Selector { get; set; } = new();

    public IList<ServiceMonitorEndpoint> Endpoints { get; set; } = [];
}

internal sealed class ServiceMonitorEndpoint
{
    public string Port { get; set; } = "";

    public string Interval { get; set; } = "";
}

internal sealed class PrometheusRule : CustomResource
{
    public PrometheusRuleSpec Spec { get; set; } = new();
}

internal sealed class PrometheusRuleSpec
{
    public IList<AlertGroup> Groups { get; set; } = [];
}

internal sealed class AlertGroup
{
    public string Name { get; set; } = "";

    public IList<AlertRule> Rules { get; set; } = [];
}

internal sealed class AlertRule
{
    public string Alert { get; set; } = "";

    public string Expr { get; set; } = "";

    public string? For { get; set; }

    public IDictionary<string, string> Labels { get; set; } = new Dictionary<string, string>();

    public IDictionary<string, string> Annotations { get; set; } = new Dictionary<string, string>();
}
