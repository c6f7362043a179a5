// Goal: a checkpoint is committed only when every part is stored and two holders report the same digest, whichever
// holder is lost meanwhile; and the holders' tasks together always cover what is missing. Method: cases, and random
// losses of holders and of reports by seed.
using System.Collections.Immutable;
using Atelier.Training.Checkpoints;
using Atelier.Training.Stages;
using Atelier.Training.Tests.Worlds;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Stages;

public sealed class PendingCheckpointTests
{
    private const int Parts = 5;
    private static readonly TrainerId s_a = TestWorlds.A, s_b = TestWorlds.B, s_c = TestWorlds.C;

    [Fact]
    public void EveryPart_HasOneWriterAndOneWitness()
    {
        PendingCheckpoint pending = New();
        TrainerId[] holders = [s_c, s_a, s_b];
        PartTask[] tasks = [.. holders.SelectMany(holder => pending.TasksOf(holder, holders))];
        for (int part = 0; part < Parts; part++)
        {
            Assert.Single(tasks, task => task.Part == part && task.Writes);
            Assert.Single(tasks, task => task.Part == part && !task.Writes);
        }

        Assert.Empty(pending.TasksOf(new TrainerId("d", 1), holders));
    }

    // A full disk on one node: another holder stores what that node should have stored.
    [Fact]
    public void AHolderThatCannotStore_OnlyComputesDigests_UnlessNobodyCan()
    {
        PendingCheckpoint pending = New();
        TrainerId[] holders = [s_a, s_b, s_c];
        pending.RecordStore(s_b, canStore: false);
        PartTask[] tasks = [.. holders.SelectMany(holder => pending.TasksOf(holder, holders))];
        Assert.Equal(Enumerable.Range(0, Parts), tasks.Where(task => task.Writes).Select(task => task.Part).Order());
        Assert.Equal(Enumerable.Range(0, Parts), tasks.Where(task => !task.Writes).Select(task => task.Part).Order());
        Assert.DoesNotContain(pending.TasksOf(s_b, holders), task => task.Writes);

        pending.RecordStore(s_b, canStore: true);
        Assert.Contains(pending.TasksOf(s_b, holders), task => task.Writes);

        Array.ForEach(holders, holder => pending.RecordStore(holder, canStore: false));
        Assert.All(holders, holder => Assert.Contains(pending.TasksOf(holder, holders), task => task.Writes));
    }

    [Fact]
    public void Commit_NeedsEveryPartStored_AndAWitness()
    {
        PendingCheckpoint pending = New();
        TrainerId[] holders = [s_a, s_b];
        for (int part = 0; part < Parts; part++)
        {
            Assert.Null(pending.Commit(7, holders));
            pending.Record(s_a, [Report(part, isStored: true)]);
        }

        Assert.Null(pending.Commit(7, holders)); // No witness has confirmed any part yet.
        for (int part = 0; part < Parts; part++)
        {
            Assert.Null(pending.Commit(7, holders));
            pending.Record(s_b, [Report(part, isStored: false)]);
        }

        CheckpointManifest manifest = pending.Commit(7, holders)!;
        Assert.Equal((20, 7, true), (manifest.Step, manifest.World, manifest.IsPlanned));
        Assert.Equal(Enumerable.Range(0, Parts).Select(Part), manifest.Parts);
        Assert.Equal(["weights"], manifest.Vectors);
    }

    [Fact]
    public void WitnessesAlone_CommitNothing()
    {
        PendingCheckpoint pending = New();
        foreach (TrainerId holder in new[] { s_a, s_b })
        {
            pending.Record(holder, Enumerable.Range(0, Parts).Select(part => Report(part, isStored: false)));
        }

        Assert.Null(pending.Commit(1, [s_a, s_b]));
    }

    [Fact]
    public void OnlyHolder_IsBelieved_AndNobodyElse()
    {
        PendingCheckpoint pending = New();
        pending.Record(s_a, Enumerable.Range(0, Parts).Select(part => Report(part, isStored: true)));
        Assert.Null(pending.Commit(1, []));
        Assert.NotNull(pending.Commit(1, [s_a]));
        Assert.DoesNotContain(pending.TasksOf(s_a, [s_a]), task => !task.Writes);
    }

    [Fact]
    public void DifferentDigests_CommitNothing_AndAreNamed()
    {
        PendingCheckpoint pending = New();
        pending.Record(s_a, Enumerable.Range(0, Parts).Select(part => Report(part, isStored: true)));
        pending.Record(s_b, Enumerable.Range(0, Parts).Select(part => Report(part, isStored: true)));
        Assert.Null(pending.Disagreement([s_a, s_b, s_c]));
        pending.Record(s_c, [new PartReport(20, 3, new CheckpointPart("other", 1), IsStored: false)]);
        Assert.Equal((3, s_a, s_c), pending.Disagreement([s_a, s_b, s_c]));
        Assert.Null(pending.Commit(1, [s_a, s_b, s_c]));

        // What a removed holder has reported neither hinders nor counts.
        Assert.NotNull(pending.Commit(1, [s_a, s_b]));
        pending.Record(s_b, [new PartReport(20, 3, new CheckpointPart("other", 1), IsStored: true)]);
        Assert.Null(pending.Commit(1, [s_a, s_b]));
        Assert.Equal("other", pending.Commit(1, [s_b])!.Parts[3].Digest);
    }

    [Fact]
    public void ReportsOfOtherSteps_AndOtherParts_AreIgnored()
    {
        PendingCheckpoint pending = New();
        pending.Record(
            s_a, [Report(0, true) with { Step = 10 }, Report(Parts, true), Report(0, true) with { Number = -1 }]);
        Assert.Equal(Parts, pending.TasksOf(s_a, [s_a]).Count);
    }

    [Fact]
    public void WhoeverIsLost_TheOthersFinishIt()
    {
        for (int seed = 0; seed < 500; seed++)
        {
            var random = new Random(seed);
            PendingCheckpoint pending = New();
            List<TrainerId> holders =
                [.. Enumerable.Range(0, 1 + random.Next(6)).Select(i => new TrainerId($"t{i}", 1))];
            var done = new Dictionary<TrainerId, Dictionary<int, PartReport>>();
            int rounds = 0;
            while (pending.Commit(1, holders) is null)
            {
                Assert.True(++rounds < 200, $"seed {seed}: not committed");
                foreach (TrainerId holder in holders.ToArray())
                {
                    Dictionary<int, PartReport> own =
                        done.TryGetValue(holder, out var known) ? known : done[holder] = [];
                    PartTask[] tasks = [.. pending.TasksOf(holder, holders)];
                    if (tasks.Length > 0)
                    {
                        PartTask task = tasks[random.Next(tasks.Length)];
                        bool isStored = own.GetValueOrDefault(task.Part)?.IsStored == true;
                        own[task.Part] = Report(task.Part, task.Writes || isStored);
                    }

                    if (random.Next(3) > 0)
                    {
                        pending.Record(holder, own.Values); // Otherwise the heartbeat is lost.
                    }
                }

                if (holders.Count > 1 && random.Next(8) == 0)
                {
                    holders.RemoveAt(random.Next(holders.Count));
                }
            }
        }
    }

    private static PendingCheckpoint New() => new(20, isPlanned: true, ["weights"], Parts);

    private static CheckpointPart Part(int number) => new($"digest {number}", 100 + number);

    private static PartReport Report(int number, bool isStored) => new(20, number, Part(number), isStored);
}
