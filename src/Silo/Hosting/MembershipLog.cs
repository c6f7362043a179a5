// The cluster's membership in the log: which silos join, leave and are declared dead. Every silo logs it, so the logs
// show when silos see different memberships.
namespace Atelier.Silo.Hosting;

/// <summary>Logs changes of membership.</summary>
internal sealed class MembershipLog(IClusterMembershipService membership, ILogger<MembershipLog> logger)
    : BackgroundService
{
    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var known = new Dictionary<SiloAddress, SiloStatus>();
        try
        {
            await foreach (ClusterMembershipSnapshot now
                in membership.MembershipUpdates.WithCancellation(stoppingToken))
            {
                LogChanges(known, now);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The silo is shutting down.
        }
    }

    // Dead silos stay in the membership for an hour; those that were dead before this silo started are not logged.
    private void LogChanges(Dictionary<SiloAddress, SiloStatus> known, ClusterMembershipSnapshot now)
    {
        foreach ((SiloAddress address, ClusterMember silo) in now.Members)
        {
            bool isNew = !known.TryGetValue(address, out SiloStatus before);
            known[address] = silo.Status;
            if (silo.Status == before || (isNew && silo.Status == SiloStatus.Dead))
            {
                continue;
            }

            if (silo.Status == SiloStatus.Dead && before == SiloStatus.Active)
            {
                logger.SiloDied(silo.Name, address);
            }
            else if (silo.Status is SiloStatus.Active or SiloStatus.ShuttingDown or SiloStatus.Dead)
            {
                logger.SiloChanged(silo.Name, address, silo.Status);
            }
        }

        foreach (SiloAddress gone in known.Keys.Except(now.Members.Keys).ToArray())
        {
            known.Remove(gone);
        }
    }
}
