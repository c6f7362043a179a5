// The part of a world's manager that chooses a world's members among the available trainers, and deals the shards. A
// trainer whose device draws pictures stays a member, so that its weights stay current, but gets no shards.
using System.Collections.Immutable;

namespace Atelier.Training.Worlds;

public sealed partial class WorldManager
{
    // Why a member's shards must be dealt to others; null if they need not be. While all devices draw pictures, the
    // shards stay where they are, and the step waits.
    private string? ShardsToTake(TimeSpan now) =>
        (World!.Members.Any(IsFree) || (MayGrow(now) && IsAnyNewcomerFree))
        && World.Members.FirstOrDefault(one => one.Shards.Count > 0 && IsServing(one.Id)) is { } serving
            ? $"{serving.Id} draws pictures" : null;

    // Why a member without shards should get some; null if there is none.
    private string? ShardsToGive() =>
        World!.Members.FirstOrDefault(one => one.Shards.Count == 0 && IsFree(one)) is { } idle
            ? $"{idle.Id} has drawn its pictures" : null;

    private bool IsAnyNewcomerFree =>
        _trainers.Values.Any(one => IsCandidate(one) && IsLevel(one) && !one.Report.IsServing);

    private bool IsFree(WorldMember member) => Find(member.Id) is { Report.IsServing: false };

    private bool IsServing(TrainerId id) => Find(id) is { Report.IsServing: true };

    private bool MayGrow(TimeSpan now) => _grownAt is null || now - _grownAt >= options.GrowPeriod;

    private WorldRecord Form(long position, IReadOnlyCollection<Trainer> trainers)
    {
        Trainer[] chosen =
        [
            .. trainers.OrderBy(one => one.Report.IsServing).ThenByDescending(one => IsMember(one.Report.Id))
                .ThenByDescending(one => one.Report.Speed)
                .ThenBy(one => one.Report.Id, TrainerId.Order).Take(shards)
                .OrderBy(one => one.Report.Id, TrainerId.Order),
        ];

        // The trainers that were not chosen may be the only ones with the last step.
        if (!chosen.Any(one => one.Report.Position == position))
        {
            position = chosen.Max(one => one.Report.Position);
        }

        ImmutableArray<ShardRun> runs = DealTo(chosen);
        bool isDoubted = _record.IsDoubted && _wrong.Count == 0;
        var world = new World(
            _forming, position,
            [.. chosen.Select((one, i) => new WorldMember(one.Report.Id, one.Report.Address, runs[i]))],
            [.. chosen.Where(one => one.Report.Position == position).Select(one => one.Report.Id)])
        {
            VerifiesAll = isDoubted,
        };
        return _record with { World = world, IsDoubted = isDoubted };
    }

    // Devices that draw pictures get no shards, unless all of them do.
    private ImmutableArray<ShardRun> DealTo(Trainer[] chosen)
    {
        Trainer[] free = [.. chosen.Where(one => !one.Report.IsServing)];
        free = free.Length > 0 ? free : chosen;
        var runs = new Queue<ShardRun>(ShardDeal.Among(shards, [.. free.Select(one => one.Report)]));
        int end = 0;
        return
        [
            .. chosen.Select(one =>
            {
                ShardRun run = free.Contains(one) ? runs.Dequeue() : new ShardRun(end, 0);
                end = run.End;
                return run;
            }),
        ];
    }

    private static int Computing(World? world) => world?.Members.Count(member => member.Shards.Count > 0) ?? 0;
}
