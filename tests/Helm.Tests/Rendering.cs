// What a set of values renders to, parsed strictly: a field that Kubernetes does not know is an error.
using k8s;
using k8s.Models;

namespace Atelier.Helm.Tests;

/// <summary>A pod's template and the object that it is part of.</summary>
internal sealed record Pod(string Owner, IDictionary<string, string> Labels, V1PodSpec Spec)
{
    public IEnumerable<V1Container> Containers => Spec.Containers.Concat(Spec.InitContainers ?? []);

    /// <summary>The component, from the pod's label: gateway, silo, redis or test.</summary>
    public string Component => Labels["app.kubernetes.io/component"];

    public bool Matches(IDictionary<string, string> selector) =>
        selector.Count > 0 && selector.All(one => Labels.TryGetValue(one.Key, out string? value) && value == one.Value);
}

/// <summary>A rendering.</summary>
internal sealed class Rendering
{
    private static readonly Dictionary<string, Type> s_types = new(StringComparer.Ordinal)
    {
        ["keda.sh/v1alpha1/ScaledObject"] = typeof(ScaledObject),
        ["gateway.networking.k8s.io/v1/HTTPRoute"] = typeof(HttpRoute),
        ["monitoring.coreos.com/v1/ServiceMonitor"] = typeof(ServiceMonitor),
        ["monitoring.coreos.com/v1/PrometheusRule"] = typeof(PrometheusRule),
    };

    public Rendering(string text, string json)
    {
        (Text, Json) = (text, json);
        Objects = [.. Parse(text)];
        Pods =
        [
            .. All<V1Deployment>().Select(one => OfTemplate(one.Name(), one.Spec.Template)),
            .. All<V1StatefulSet>().Select(one => OfTemplate(one.Name(), one.Spec.Template)),
            .. All<V1Pod>().Select(one => new Pod(one.Name(), one.Metadata.Labels, one.Spec)),
        ];
    }

    public string Text { get; }

    public string Json { get; }

    public object[] Objects { get; }

    public Pod[] Pods { get; }

    public static IEnumerable<object> Parse(string text) =>
        KubernetesYaml.LoadAllFromString(text, s_types, strict: true);

    public IEnumerable<T> All<T>() => Objects.OfType<T>();

    /// <summary>Whether there is an object of this type and name.</summary>
    public bool Has<T>(string? name)
        where T : IKubernetesObject<V1ObjectMeta> => All<T>().Any(one => one.Name() == name);

    private static Pod OfTemplate(string owner, V1PodTemplateSpec template) =>
        new(owner, template.Metadata.Labels, template.Spec);
}
