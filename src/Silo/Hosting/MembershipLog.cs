// The cluster's membership as an operator reads it: who joins, who leaves, who is declared dead. Every silo writes it,
// so that silos that do not see the same are found by their logs.
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
            // The silo stops.
        }
    }

    // The dead stay in the membership for an hour; those that were dead before this silo came are not news.
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
