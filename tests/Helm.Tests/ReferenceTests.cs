// Goal: what an object refers to exists. Method: selectors, ports, secrets, config maps, claims, service accounts and
// targets of every set; what is not rendered must be named in the values as existing.
using k8s;
using k8s.Models;
using Xunit;
using YamlDotNet.RepresentationModel;

namespace Atelier.Helm.Tests;

public sealed class ReferenceTests(Renderer renderer)
{
    public static TheoryData<string> Sets => [.. Repository.Sets];

    [Theory]
    [MemberData(nameof(Sets))]
    public void Objects_HaveNamesOfTheirOwn_ThatAreNotTooLong(string set)
    {
        string[] names =
        [
            .. renderer[set].Objects.Cast<IKubernetesObject<V1ObjectMeta>>()
                .Select(one => $"{one.Kind} {one.Metadata.Name}"),
        ];
        Assert.Equal(names.Distinct(), names);
        Assert.All(names, name => Assert.InRange(name.Split(' ')[1].Length, 1, 63));
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void SelectorsOfControllers_AreTheLabelsOfTheirPods_AndOfNoOthers(string set)
    {
        Rendering rendering = renderer[set];
        (string Name, V1LabelSelector Selector)[] owners =
        [
            .. rendering.All<V1Deployment>().Select(one => (one.Name(), one.Spec.Selector)),
            .. rendering.All<V1StatefulSet>().Select(one => (one.Name(), one.Spec.Selector)),
        ];
        Assert.All(owners, owner => Assert.Equal(
            [owner.Name],
            rendering.Pods.Where(pod => pod.Matches(owner.Selector.MatchLabels)).Select(pod => pod.Owner)));
        Assert.All(
            owners, owner => Assert.DoesNotContain("app.kubernetes.io/version", owner.Selector.MatchLabels.Keys));
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void Services_HavePods_WithTheirPorts(string set) => Assert.All(renderer[set].All<V1Service>(), service =>
    {
        Pod[] pods = [.. renderer[set].Pods.Where(pod => pod.Matches(service.Spec.Selector))];
        Assert.NotEmpty(pods);
        Assert.All(service.Spec.Ports, port => Assert.All(pods, pod => Assert.Contains(
            port.TargetPort.Value, pod.Containers.SelectMany(one => one.Ports ?? []).Select(one => one.Name))));
    });

    [Theory]
    [MemberData(nameof(Sets))]
    public void SelectorsOfAllElse_MatchPods(string set)
    {
        Rendering rendering = renderer[set];
        IDictionary<string, string>[] selectors =
        [
            .. rendering.All<V1PodDisruptionBudget>().Select(one => one.Spec.Selector.MatchLabels),
            .. rendering.Pods.SelectMany(pod => pod.Spec.TopologySpreadConstraints ?? [])
                .Select(one => one.LabelSelector.MatchLabels),
            .. rendering.All<V1NetworkPolicy>().Select(one => one.Spec.PodSelector.MatchLabels),
            .. rendering.All<V1NetworkPolicy>().SelectMany(one => one.Spec.Ingress)
                .SelectMany(rule => rule.FromProperty ?? []).Where(peer => peer.PodSelector is not null)
                .Select(peer => peer.PodSelector.MatchLabels),
        ];
        Assert.True(selectors.Length > 3);
        Assert.All(selectors, selector => Assert.Contains(rendering.Pods, pod => pod.Matches(selector)));
        Assert.All(rendering.Pods, pod => Assert.All(
            pod.Spec.TopologySpreadConstraints ?? [], one => Assert.True(pod.Matches(one.LabelSelector.MatchLabels))));
        Assert.All(rendering.All<ServiceMonitor>(), monitor => Assert.Contains(
            rendering.All<V1Service>(), service => monitor.Spec.Selector.MatchLabels.All(
                    one => service.Metadata.Labels.TryGetValue(one.Key, out string? value) && value == one.Value)
                && service.Spec.Ports.Any(port => port.Name == monitor.Spec.Endpoints[0].Port)));
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void Policies_NamePortsOfTheirPods_AndLeaveNoneOut(string set)
    {
        Rendering rendering = renderer[set];
        Assert.All(rendering.All<V1NetworkPolicy>(), policy => Assert.Equal(
            rendering.Pods.Where(pod => pod.Matches(policy.Spec.PodSelector.MatchLabels))
                .SelectMany(pod => pod.Containers).SelectMany(container => container.Ports ?? [])
                .Select(port => port.Name).Append("trainers").Distinct().Where(
                    port => port != "trainers" || policy.Name().EndsWith("-silo", StringComparison.Ordinal)).Order(),
            policy.Spec.Ingress.SelectMany(rule => rule.Ports).Select(port => port.Port.Value).Distinct().Order()));
    }

    [Theory]
    [InlineData("redis", "redis", "gateway,silo")]
    [InlineData("silo", "silo", "silo")]
    [InlineData("silo", "trainers", "silo")]
    [InlineData("silo", "proxy", "gateway,silo")]
    [InlineData("silo", "http", "gateway,silo")]
    [InlineData("silo", "scaler", "keda")]
    [InlineData("silo", "metrics", "monitoring")]
    [InlineData("gateway", "metrics", "monitoring")]
    [InlineData("gateway", "http", "anyone")]
    public void APort_IsReachedOnlyBy(string component, string port, string peers)
    {
        V1NetworkPolicy policy = Assert.Single(
            renderer["gpu-spot"].All<V1NetworkPolicy>(),
            one => one.Spec.PodSelector.MatchLabels["app.kubernetes.io/component"] == component);
        IEnumerable<string> found = policy.Spec.Ingress.Where(rule => rule.Ports.Any(one => one.Port.Value == port))
            .SelectMany(rule => rule.FromProperty is null
                ? ["anyone"]
                : rule.FromProperty.Select(peer => peer.PodSelector is { } pods
                    ? pods.MatchLabels["app.kubernetes.io/component"]
                    : peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]));
        Assert.Equal(peers, string.Join(',', found.Order(StringComparer.Ordinal)));
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void WhatPodsReferTo_IsRenderedOrNamedInTheValues(string set)
    {
        Rendering rendering = renderer[set];
        HashSet<string> named = Named(set);
        V1Secret? secret = rendering.All<V1Secret>().SingleOrDefault();
        Assert.All(rendering.Pods, pod =>
        {
            foreach (V1EnvVar variable in pod.Containers.SelectMany(container => container.Env ?? []))
            {
                Assert.Null(variable.ValueFrom?.ConfigMapKeyRef);
                if (variable.ValueFrom?.SecretKeyRef is { } key)
                {
                    Assert.True(
                        key.Name == secret?.Name()
                            ? secret.Data.ContainsKey(key.Key) != (key.Optional == true) : named.Contains(key.Name),
                        $"{pod.Owner}: {key.Name} has no {key.Key}");
                    Assert.Equal(variable.Name == "Cluster__AcceptedSecret", key.Optional == true);
                }
            }

            foreach (V1Volume volume in pod.Spec.Volumes)
            {
                Assert.Null(volume.Secret);
                Assert.Null(volume.ConfigMap);
                string? claim = volume.PersistentVolumeClaim?.ClaimName;
                Assert.True(
                    claim is null || named.Contains(claim) || rendering.Has<V1PersistentVolumeClaim>(claim), claim);
            }

            string[] volumes =
            [
                .. pod.Spec.Volumes.Select(volume => volume.Name),
                .. rendering.All<V1StatefulSet>().Where(one => one.Name() == pod.Owner)
                    .SelectMany(one => one.Spec.VolumeClaimTemplates).Select(claim => claim.Name()),
            ];
            Assert.All(
                pod.Containers.SelectMany(container => container.VolumeMounts),
                mount => Assert.Contains(mount.Name, volumes));
            Assert.True(
                pod.Spec.ServiceAccountName is null || rendering.Has<V1ServiceAccount>(pod.Spec.ServiceAccountName));
            Assert.True(
                pod.Spec.PriorityClassName is null || rendering.Has<V1PriorityClass>(pod.Spec.PriorityClassName));
            Assert.All(pod.Spec.ImagePullSecrets ?? [], one => Assert.Contains(one.Name, named));
        });
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void ScalersAndRoutes_HaveTargets(string set)
    {
        Rendering rendering = renderer[set];
        Assert.All(rendering.All<V2HorizontalPodAutoscaler>(), one => AssertScales(one.Spec.ScaleTargetRef));
        Assert.All(rendering.All<ScaledObject>(), one =>
        {
            AssertScales(one.Spec.ScaleTargetRef);
            IDictionary<string, string> metadata = Assert.Single(one.Spec.Triggers).Metadata;
            string[] address = metadata["scalerAddress"].Split('.', ':');
            V1Service service = Assert.Single(rendering.All<V1Service>(), of => of.Name() == address[0]);
            Assert.Contains(service.Spec.Ports, port => $"{port.Port}" == address[^1]);
            Assert.Equal("art", address[1]);
            Assert.Equal(metadata["minimum"], $"{one.Spec.MinReplicaCount}");
            Assert.Equal(metadata["maximum"], $"{one.Spec.MaxReplicaCount}");
            Assert.Equal(one.Spec.MinReplicaCount > 0, one.Spec.Fallback is not null);
        });
        Assert.All(rendering.All<V1Ingress>(), one =>
        {
            V1IngressServiceBackend backend = one.Spec.Rules[0].Http.Paths[0].Backend.Service;
            AssertServes(backend.Name, port => port.Name == backend.Port.Name);
            Assert.All(
                one.Spec.Tls ?? [], tls => Assert.Contains(tls.SecretName, Named(set)));
        });
        Assert.All(rendering.All<HttpRoute>(), one =>
        {
            HttpRouteBackend backend = one.Spec.Rules[0].BackendRefs[0];
            AssertServes(backend.Name, port => port.Port == backend.Port);
        });
        Pod test = Assert.Single(rendering.Pods, pod => pod.Component == "test");
        AssertServes(new Uri(test.Spec.Containers[0].Args[2]).Host, port => port.Port == 80);

        void AssertScales(V2CrossVersionObjectReference target) => Assert.Null(
            Assert.Single(rendering.All<V1Deployment>(), one => one.Name() == target.Name).Spec.Replicas);

        void AssertServes(string name, Predicate<V1ServicePort> port) => Assert.Contains(
            Assert.Single(rendering.All<V1Service>(), one => one.Name() == name).Spec.Ports, port);
    }

    [Fact]
    public void Sets_HaveWhatIsTested()
    {
        Assert.Equal(2, renderer["gpu-spot"].All<ScaledObject>().Count());
        Assert.Single(renderer["gateway-api"].All<HttpRoute>());
        Assert.Single(renderer["cpu-demo"].All<V1Ingress>());
        Assert.Single(renderer["production"].All<PrometheusRule>());
        Assert.Single(renderer["production"].All<V2HorizontalPodAutoscaler>());
        Assert.Empty(renderer["everything-off"].All<V1NetworkPolicy>());
        Assert.Empty(renderer["everything-off"].All<V1PriorityClass>());
        Assert.Empty(renderer["everything-off"].All<V1StatefulSet>());
    }

    // What the values name as existing.
    private static HashSet<string> Named(string set)
    {
        var stream = new YamlStream();
        using (StreamReader reader = File.OpenText(Repository.ValuesOf(set)))
        {
            stream.Load(reader);
        }

        string[] keys = ["existing", "existingSecret", "existingClaim", "claim", "tlsSecret"];
        YamlMappingNode[] maps = [.. stream.Documents[0].AllNodes.OfType<YamlMappingNode>()];
        KeyValuePair<YamlNode, YamlNode>[] entries = [.. maps.SelectMany(map => map.Children)];
        return entries.Where(entry => keys.Contains($"{entry.Key}")).Select(entry => $"{entry.Value}")
            .Concat(entries.Where(entry => $"{entry.Key}" == "imagePullSecrets")
                .SelectMany(entry => entry.Value.AllNodes.OfType<YamlMappingNode>()).Select(map => $"{map["name"]}"))
            .ToHashSet(StringComparer.Ordinal);
    }
}
