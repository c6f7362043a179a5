// Goal: the table of phases has a row for every phase, one pair of phases for every kind of work, and the event order
// that clients have seen since format 0 and whose numbers they send back as Last-Event-ID.
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Xunit;

namespace Atelier.Contracts.Tests.Generations;

public sealed class GenerationPhasesTests
{
    [Fact]
    public void EveryPhase_HasOneRow() =>
        Assert.Equal(Enum.GetValues<GenerationPhase>().Order(), GenerationPhases.All.Select(row => row.Phase).Order());

    [Fact]
    public void EveryKindOfWork_HasOnePhaseThatWaits_AndThenOneThatRuns()
    {
        foreach (WorkKind kind in Enum.GetValues<WorkKind>())
        {
            GenerationPhaseInfo[] rows = [.. GenerationPhases.All.Where(row => row.Kind == kind)];
            Assert.Equal([true, false], rows.Select(row => row.Waits));
            Assert.Equal(rows[0].Phase, GenerationPhases.WaitingFor(kind));
            Assert.Equal(rows[1].Phase, GenerationPhases.RunningOf(kind));
        }
    }

    [Fact]
    public void EventsOfFormat0_KeepTheirOrder()
    {
        string[] before = ["0.0", "1.0", "2.0", "3.0", "3.1", "3.17", "4.0", "5.0", "6.0"];
        EventNumber[] read = [.. before.Select(Read)];
        Assert.Equal(before, read.Order().Select(number => number.ToString()));
        Assert.All(read.Zip(read.Skip(1)), pair => Assert.True(pair.First < pair.Second));
        Assert.True(EventNumber.Before < read[0]);
        Assert.Equal(EventNumber.Of(GenerationPhase.Denoising, 17), read[5]);
        Assert.Equal(EventNumber.Of(GenerationPhase.Done), read[^1]);
    }

    private static EventNumber Read(string text) =>
        EventNumber.TryParse(text, out EventNumber number) ? number : throw new FormatException(text);

    // A newer version may have sent it: every phase known here came before it.
    [Fact]
    public void AnEventOfAPhaseThatNoRowHas_ComesAfterAll() =>
        Assert.All(GenerationPhases.All, row => Assert.True(new EventNumber(999, 0) > EventNumber.Of(row.Phase)));

    // Numbers can only be appended, so a phase in the middle has a higher one than those that follow it.
    [Fact]
    public void APhaseThatIsAddedInTheMiddle_IsOrderedByItsRow_AndItsEventsAreRead()
    {
        (GenerationPhase queued, GenerationPhase refining, var refine) =
            ((GenerationPhase)9, (GenerationPhase)10, (WorkKind)3);
        var table = new PhaseTable(
        [
            .. GenerationPhases.UpTo(GenerationPhase.Denoising).Select(phase => phase.Info()),
            new(queued, refine, Waits: true), new(refining, refine, Waits: false),
            .. GenerationPhases.All.Where(row => row.Phase.IsAfter(GenerationPhase.Denoising)),
        ]);
        GenerationPhase[] phases =
            [GenerationPhase.Denoising, queued, refining, GenerationPhase.QueuedDecode, GenerationPhase.Done];
        int[] orders = [.. phases.Select(phase => table.OrderOf((int)phase))];
        Assert.Equal(orders.Order(), orders);
        Assert.Equal(orders.Distinct(), orders);
        Assert.True(table.OrderOf(WorkKind.Denoise) < table.OrderOf(refine));
        Assert.True(table.OrderOf(refine) < table.OrderOf(WorkKind.Decode));
        Assert.All(phases, phase => Assert.Equal(EventNumber.Of(phase, 7), Read(EventNumber.Of(phase, 7).ToString())));
    }

    [Fact]
    public void KindsOfWork_FollowTheOrderOfTheirPhases()
    {
        Assert.True(WorkKind.Denoise.IsAfter(WorkKind.Encode) && WorkKind.Decode.IsAfter(WorkKind.Denoise));
        Assert.False(WorkKind.Encode.IsAfter(WorkKind.Denoise) || WorkKind.Decode.IsAfter(WorkKind.Decode));
        Assert.True(((WorkKind)3).IsAfter(WorkKind.Decode));
    }

    [Fact]
    public void TheEnd_IsReachedInThreeWays() => Assert.Equal(
        [GenerationPhase.Done, GenerationPhase.Failed, GenerationPhase.Cancelled],
        GenerationPhases.All.Select(row => row.Phase).Where(phase => phase.IsEnded()));
}
