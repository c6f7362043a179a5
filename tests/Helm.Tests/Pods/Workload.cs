// A Deployment or StatefulSet and what its controller does: the wanted number of pods, and roll-outs within the surge
// and the number of unavailable pods that it allows.
using k8s.Models;

namespace Atelier.Helm.Tests.Pods;

/// <summary>The pods of a Deployment or StatefulSet.</summary>
internal sealed class Workload
{
    private readonly Func<Workload, RunningPod> _create;
    private readonly List<RunningPod> _pods = [];
    private readonly bool _isStateful;
    private readonly int _surge;
    private readonly int _unavailable;
    private int _next;

    public Workload(V1Deployment deployment, Func<Workload, RunningPod> create)
    {
        (Name, Template, Replicas) = (deployment.Name(), deployment.Spec.Template, deployment.Spec.Replicas ?? 1);
        V1RollingUpdateDeployment update = deployment.Spec.Strategy.RollingUpdate;
        (_surge, _unavailable) = (int.Parse(update.MaxSurge.Value), int.Parse(update.MaxUnavailable.Value));
        _create = create;
    }

    public Workload(V1StatefulSet set, Func<Workload, RunningPod> create)
    {
        (Name, Template, Replicas) = (set.Name(), set.Spec.Template, set.Spec.Replicas ?? 1);
        (_surge, _unavailable, _isStateful) = (0, 1, true);
        Claims = [.. set.Spec.VolumeClaimTemplates.Select(claim => claim.Name())];
        _create = create;
    }

    public string Name { get; }

    public V1PodTemplateSpec Template { get; }

    /// <summary>Names of the claims that each pod has for itself.</summary>
    public string[] Claims { get; } = [];

    /// <summary>The wanted number of pods.</summary>
    public int Replicas { get; set; }

    /// <summary>The wanted revision; a pod of an earlier one is replaced.</summary>
    public int Revision { get; set; } = 1;

    /// <summary>Pods that are not yet gone.</summary>
    public IReadOnlyList<RunningPod> Pods
    {
        get
        {
            lock (_pods)
            {
                return [.. _pods];
            }
        }
    }

    /// <summary>Whether the wanted pods are ready, and no others are left.</summary>
    public bool IsComplete =>
        Pods is var pods && pods.Count == Replicas && pods.All(pod => pod.IsReady && pod.Revision == Revision);

    /// <summary>The next pod's name.</summary>
    public string NextName() => _isStateful ? $"{Name}-0" : $"{Name}-{Revision:x4}-{_next++:x5}";

    /// <summary>Creates and deletes pods as the numbers ask for.</summary>
    public void Reconcile()
    {
        lock (_pods)
        {
            _pods.RemoveAll(pod => pod.Ended.IsCompleted);
            List<RunningPod> live = [.. _pods.Where(pod => !pod.IsTerminating)];
            List<RunningPod> current = [.. live.Where(pod => pod.Revision == Revision)];
            List<RunningPod> old = [.. live.Where(pod => pod.Revision != Revision)];
            int room = _isStateful && _pods.Count > live.Count ? 0 : Replicas + (old.Count > 0 ? _surge : 0);
            for (int count = live.Count; current.Count < Replicas && count < room; count++)
            {
                RunningPod pod = _create(this);
                _ = pod.StartAsync();
                _pods.Add(pod);
                current.Add(pod);
            }

            // Pods that are not ready are deleted first, then the youngest.
            int spare = live.Count(pod => pod.IsReady) - (Replicas - _unavailable);
            foreach (RunningPod pod in Enumerable.Reverse(old).OrderBy(pod => pod.IsReady))
            {
                if (pod.IsReady && spare-- <= 0)
                {
                    break;
                }

                _ = pod.DeleteAsync();
            }

            foreach (RunningPod pod in Enumerable.Reverse(current).OrderBy(pod => pod.IsReady)
                .Take(current.Count - Replicas))
            {
                _ = pod.DeleteAsync();
            }
        }
    }
}
