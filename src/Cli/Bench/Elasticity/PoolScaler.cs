// The rule of pools in the cluster, as a scaler of a simulated pool.
using Atelier.Grains.Scaling;

namespace Atelier.Cli.Bench.Elasticity;

/// <summary>Scales a pool by <see cref="PoolScale"/>.</summary>
internal sealed class PoolScaler(ElasticDay day, int maximum) : IPoolScaler
{
    private readonly PoolScale _rule = new(new PoolScaleOptions
    {
        Minimum = day.Minimum, Maximum = maximum, TargetWait = TimeSpan.FromSeconds(day.Target),
        ColdStart = TimeSpan.FromSeconds(day.ColdStart),
    });

    public int Wanted(in ElasticSample sample) => _rule.Wanted(
        new PoolLoad
        {
            Backlog = sample.Backlog, Arrived = sample.Arrived, Speed = day.Speed, Ready = sample.Ready,
            Leased = sample.Running,
        },
        TimeSpan.FromSeconds(sample.Now));
}
