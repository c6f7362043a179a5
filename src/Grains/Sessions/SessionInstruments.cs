using System.Diagnostics.Metrics;
using Atelier.Contracts.Diagnostics;

namespace Atelier.Grains.Sessions;

/// <summary>The metrics of sessions.</summary>
internal sealed class SessionInstruments
{
    private readonly Counter<long> _opened;
    private readonly Counter<long> _deleted;
    private readonly Counter<long> _pages;

    public SessionInstruments(IMeterFactory meters)
    {
        Meter meter = meters.Create("Atelier.Sessions");
        _opened = meter.CreateCounterAtZero<long>(
            "atelier.session.opened", "{session}", "Sessions that clients opened.");
        _deleted = meter.CreateCounterAtZero<long>(
            "atelier.session.deleted", "{session}", "Sessions that clients deleted.");
        _pages = meter.CreateCounterAtZero<long>(
            "atelier.session.pages", "{page}", "Pages of histories that were begun.");
    }

    public void Opened() => _opened.Add(1);

    public void Deleted() => _deleted.Add(1);

    public void PageBegun() => _pages.Add(1);
}
