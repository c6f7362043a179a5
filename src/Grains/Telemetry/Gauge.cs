// A level to which several grains of a process contribute, such as work that waits. Grains change it on their
// schedulers; a listener reads it on any thread, whenever it starts to listen.
namespace Atelier.Grains.Telemetry;

/// <summary>The sum of its contributions.</summary>
internal sealed class Gauge
{
    private long _value;

    public long Value => Interlocked.Read(ref _value);

    /// <summary>Changes a contribution to a new value, and stores that as the known one.</summary>
    public void Move(ref int known, int now)
    {
        if (known != now)
        {
            Interlocked.Add(ref _value, now - known);
            known = now;
        }
    }
}
