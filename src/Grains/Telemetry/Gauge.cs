// A level to which several grains of a process contribute, such as work that waits. Grains move it on their schedulers;
// a listener reads it on any thread, whenever it begins to listen.
namespace Atelier.Grains.Telemetry;

/// <summary>The sum of what its contributors hold.</summary>
internal sealed class Gauge
{
    private long _value;

    public long Value => Interlocked.Read(ref _value);

    /// <summary>Changes a contribution from one value to another, which becomes the known one.</summary>
    public void Move(ref int known, int now)
    {
        if (known != now)
        {
            Interlocked.Add(ref _value, now - known);
            known = now;
        }
    }
}
