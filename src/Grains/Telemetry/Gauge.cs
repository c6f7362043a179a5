// A gauge to which several grains of a process contribute, such as the number of waiting work items. Grains change it
// on their own schedulers; a metrics listener may read it on any thread at any time.
namespace Atelier.Grains.Telemetry;

/// <summary>A gauge whose value is the sum of its contributions.</summary>
internal sealed class Gauge
{
    private long _value;

    public long Value => Interlocked.Read(ref _value);

    /// <summary>Changes a contribution from <paramref name="known"/> to a new value, which is stored there.</summary>
    public void Move(ref int known, int now)
    {
        if (known != now)
        {
            Interlocked.Add(ref _value, now - known);
            known = now;
        }
    }
}
