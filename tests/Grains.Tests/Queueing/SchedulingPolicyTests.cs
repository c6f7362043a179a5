// Goal: which work comes next, when a worker drains and when it loads another model, at the bounds of each rule.
// Method: small fleets whose accounts are set by hand.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class SchedulingPolicyTests
{
    private static readonly ModelDigest s_here = Work.Model(1), s_there = Work.Model(2);

    private readonly QueueParts _parts = new(new WorkQueueOptions { Slack = 0.125, LoadsKept = 4 });

    private SchedulingPolicy Policy => _parts.Policy;

    [Fact]
    public void AFreeSlot_GetsWorkOfModelsInMemory_OfTheTenantThatIsFurthestBehind()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        Assert.Null(SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        WorkEntry a = Wait("a", 1, s_here), b = Wait("b", 2, s_there);
        Virtual(worker, a, 1);
        Virtual(worker, b, 2);
        Assert.Same(a, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        Virtual(worker, a, 3);
        Assert.Same(b, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        worker = Worker(ModelPlace.Instead);
        Assert.Same(a, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        Assert.Same(a, SchedulingPolicy.Next(worker, alone: false));
        Assert.Null(SchedulingPolicy.Next(worker, alone: true));
    }

    [Fact]
    public void WorkThatMustRunAlone_GoesToAWorkerThatHoldsNothing_WhenItIsNext()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        WorkEntry alone = Wait("a", 1, s_here, alone: true), shared = Wait("b", 2, s_here);
        Virtual(worker, alone, 1);
        Virtual(worker, shared, 2);
        Assert.Same(alone, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        Virtual(worker, alone, 3);
        Assert.Same(shared, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        Virtual(worker, alone, 1);
        worker.Held = 1;
        Assert.Same(shared, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        _parts.Waiting.Remove(shared);
        Assert.Null(SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        worker.Held = 0;
        Assert.Same(alone, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
    }

    [Fact]
    public void WhoDrains_OrHoldsWhatRunsAlone_TakesNothing()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        WorkEntry entry = Wait("a", 1, s_here);
        worker.HeldAlone = 1;
        Assert.Null(SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        worker.HeldAlone = 0;
        worker.IsDraining = true;
        Assert.Null(SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
        worker.IsDraining = false;
        Assert.Same(entry, SchedulingPolicy.ForFreeSlot(worker, startsAlone: true));
    }

    [Fact]
    public void ABusyWorker_Drains_WhenWorkThatMustRunAloneIsNext()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        Assert.False(Policy.ShouldDrain(worker));
        WorkEntry alone = Wait("a", 1, s_here, alone: true), shared = Wait("b", 2, s_here);
        Virtual(worker, alone, 1);
        Virtual(worker, shared, 2);
        Assert.False(Policy.ShouldDrain(worker));
        worker.Held = 1;
        Assert.True(Policy.ShouldDrain(worker));
        Virtual(worker, alone, 3);
        Assert.False(Policy.ShouldDrain(worker));
        Virtual(worker, alone, 1);
        worker.HeldAlone = 1;
        Assert.False(Policy.ShouldDrain(worker));
    }

    [Fact]
    public void OneWorkerDrains_AndNone_WhereAnIdleOneHasTheModel()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        worker.Held = 1;
        Wait("a", 1, s_here, alone: true);
        QueueWorker other = _parts.Worker("other", 1, models: [new WorkerModel(s_here, ModelPlace.Instead)]);
        Assert.True(Policy.ShouldDrain(worker));
        _parts.Workers.SetDraining(other, true);
        Assert.Null(Policy.ShouldDrain(worker));
        _parts.Workers.SetDraining(other, false);
        _parts.Worker("other", 1, models: [new WorkerModel(s_here, ModelPlace.Loaded)]);
        Assert.Null(Policy.ShouldDrain(worker));
    }

    [Fact]
    public void ANewcomer_IsATenantThatIsServedNothingYet()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        WorkEntry entry = Wait("a", 1, s_here);
        Assert.True(SchedulingPolicy.IsNewcomer(worker, entry));
        worker.Pool!.Shares.Charge(Share(worker, entry), 1);
        Assert.False(SchedulingPolicy.IsNewcomer(worker, entry));
    }

    [Fact]
    public void AWorkerThatHoldsNothing_LoadsTheModelOfTheWorkThatIsNext()
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        Assert.Null(Policy.ModelToLoad(worker, [], null));
        Wait("a", 1, s_here);
        Assert.Null(Policy.ModelToLoad(worker, [], null));
        Wait("b", 2, s_there);
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [], 0));
    }

    [Fact]
    public void OfTwoModels_TheOneOfTheTenantFurthestBehindIsLoaded_AloneOrNot()
    {
        QueueWorker worker = _parts.Worker(
            "w", models: [new WorkerModel(s_here, ModelPlace.Instead), new WorkerModel(s_there, ModelPlace.Instead)]);
        WorkEntry one = Wait("a", 1, s_here), other = Wait("b", 2, s_there, alone: true);
        Virtual(worker, one, 1);
        Virtual(worker, other, 2);
        Assert.Equal(s_here, Policy.ModelToLoad(worker, [], null));
        Virtual(worker, one, 3);
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [], null));
    }

    [Fact]
    public void WhoLoads_Drains_OrHoldsWhatRunsAlone_LoadsNothing()
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        Wait("b", 2, s_there);
        worker.IsDraining = true;
        Assert.Null(Policy.ModelToLoad(worker, [], null));
        (worker.IsDraining, worker.HeldAlone) = (false, 1);
        Assert.Null(Policy.ModelToLoad(worker, [], null));
        worker.HeldAlone = 0;
        worker.SetLoading(s_here, Work.Start);
        Assert.Null(Policy.ModelToLoad(worker, [], null));
        worker.SetLoading(null, Work.Start);
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [], null));
    }

    // Another worker is loading the model, or has it in memory and a free slot.
    [Theory]
    [InlineData(ModelPlace.Loading, 0, true)]
    [InlineData(ModelPlace.Loaded, 1, true)]
    [InlineData(ModelPlace.Loaded, 0, false)]
    [InlineData(ModelPlace.Instead, 1, false)]
    public void AModelThatIsSuppliedElsewhere_IsNotLoaded(ModelPlace place, int spare, bool isSupplied)
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        Wait("b", 2, s_there);
        _parts.Worker("other", spare, models: [new WorkerModel(s_there, place)]);
        Assert.Equal(isSupplied ? null : s_there, Policy.ModelToLoad(worker, [], null));
    }

    // The current request costs 10: a lead of exactly (1 + 1/8) * 10 over the larger weight is not enough; a larger
    // lead is.
    [Theory]
    [InlineData(1, 11.25, false)]
    [InlineData(1, 11.26, true)]
    [InlineData(2, 5.625, false)]
    [InlineData(2, 5.63, true)]
    public void ABusyWorker_Changes_ForATenantThatIsARequestBehind(double weight, double lead, bool loads)
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        WorkEntry held = _parts.Hold(Item("a", 1, s_here), worker);
        WorkEntry other = _parts.Wait(Item("b", 2, s_there) with { Weight = weight });
        Assert.Equal(weight, other.Work.Weight);
        Served(worker, other, 0);
        Served(worker, held, lead);
        Assert.Equal(loads ? s_there : null, Policy.ModelToLoad(worker, [held], 4));
        Assert.Null(Policy.ModelToLoad(worker, [held], 3.99));
        Assert.Equal(loads ? s_there : null, Policy.ModelToLoad(worker, [held], null));
        worker = Worker(ModelPlace.Beside);
        Assert.Equal(loads ? s_there : null, Policy.ModelToLoad(worker, [held], 0));
    }

    [Fact]
    public void ForANewcomer_AModelStaysHalfAsLong_AndTheNewcomerNeedsNoLead()
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        WorkEntry held = _parts.Hold(Item("a", 1, s_here), worker);
        WorkEntry other = Wait("b", 2, s_there);
        Assert.True(Share(worker, other).IsNew);
        Served(worker, held, Share(worker, other).Virtual);
        Assert.Null(Policy.ModelToLoad(worker, [held], 1.99));
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [held], 2));
        Share(worker, other).Virtual += 0.5;
        Assert.Null(Policy.ModelToLoad(worker, [held], 2));
    }

    // A newcomer is served where its model is; others change the model when they are far enough behind.
    [Fact]
    public void ANewcomer_WhoseModelIsElsewhere_ChangesNothing()
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        WorkEntry held = _parts.Hold(Item("a", 1, s_here), worker);
        WorkEntry other = Wait("b", 2, s_there);
        _parts.Worker("other", 0, models: [new WorkerModel(s_there, ModelPlace.Loaded)]);
        Served(worker, held, 100);
        Assert.Null(Policy.ModelToLoad(worker, [held], 9));
        Share(worker, other).IsNew = false;
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [held], 9));
    }

    [Fact]
    public void OfOneTenantsModels_TheOlderWorkIsServed_UnlessItIsServedElsewhere()
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        WorkEntry held = _parts.Hold(Item("a", 5, s_here), worker);
        WorkEntry late = Wait("a", 6, s_there);
        Assert.Null(Policy.ModelToLoad(worker, [held], 9));
        _parts.Waiting.Remove(late);
        Wait("a", 4, s_there);
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [held], 9));
        _parts.Worker("other", 0, models: [new WorkerModel(s_there, ModelPlace.Loaded)]);
        Assert.Null(Policy.ModelToLoad(worker, [held], 9));
    }

    [Fact]
    public void ABusyWorker_KeepsItsModel_WhereAnIdleOneCouldLoadTheOther()
    {
        QueueWorker worker = Worker(ModelPlace.Instead);
        WorkEntry held = _parts.Hold(Item("a", 1, s_here), worker);
        WorkEntry other = Wait("b", 2, s_there);
        Served(worker, other, 0);
        Served(worker, held, 100);
        _parts.Worker("idle", 1, models: [new WorkerModel(s_there, ModelPlace.Beside)]);
        Assert.Null(Policy.ModelToLoad(worker, [held], 9));
        _parts.Worker("idle", 0, models: [new WorkerModel(s_there, ModelPlace.Beside)]);
        Assert.Equal(s_there, Policy.ModelToLoad(worker, [held], 9));
    }

    // A lead of exactly an eighth of the request, 10 operations, over the larger weight is not enough; a larger lead
    // is.
    [Theory]
    [InlineData(1, 1.25, false)]
    [InlineData(1, 1.26, true)]
    [InlineData(4, 0.3125, false)]
    [InlineData(4, 0.32, true)]
    public void ATenantThatIsServed_RunsAheadByTheSlack(double weight, double lead, bool isOverserved)
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        WorkEntry held = _parts.Hold(Item("a", 1, s_here), worker);
        WorkEntry other = _parts.Wait(Item("b", 2, s_here) with { Weight = weight });
        Served(worker, other, 0);
        Served(worker, held, lead);
        Assert.Equal(isOverserved, Policy.IsOverserved(worker.Pool!.Shares, held, other));
    }

    [Fact]
    public void ForANewcomer_ThereIsNoSlack_AndATenantIsNotAheadOfItself()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        WorkEntry held = _parts.Hold(Item("a", 1, s_here), worker), own = Wait("a", 0, s_here);
        WorkEntry other = Wait("b", 2, s_here);
        Served(worker, held, 3);
        Share(worker, other).Virtual = 3;
        Assert.True(Policy.IsOverserved(worker.Pool!.Shares, held, other));
        Share(worker, other).Virtual = 3.5;
        Assert.False(Policy.IsOverserved(worker.Pool!.Shares, held, other));
        Share(worker, own).IsNew = true;
        Assert.False(Policy.IsOverserved(worker.Pool!.Shares, held, own));
    }

    [Fact]
    public void ABusyWorker_ThatHasTheModel_IsToBeAsked_ForANewcomer()
    {
        QueueWorker worker = Worker(ModelPlace.Loaded);
        WorkEntry entry = Wait("a", 1, s_here);
        Assert.Null(Policy.BusyWorkerFor(entry));
        worker.Held = 1;
        Assert.Same(worker, Policy.BusyWorkerFor(entry));
        worker.HeldAlone = 1;
        Assert.Null(Policy.BusyWorkerFor(entry));
        (worker.HeldAlone, worker.IsDraining) = (0, true);
        Assert.Null(Policy.BusyWorkerFor(entry));
        worker.IsDraining = false;
        Assert.Same(worker, Policy.BusyWorkerFor(entry));
        Share(worker, entry).IsNew = false;
        Assert.Null(Policy.BusyWorkerFor(entry));
        Share(worker, entry).IsNew = true;
        worker.Models = [new WorkerModel(s_here, ModelPlace.Instead), new WorkerModel(s_there, ModelPlace.Loaded)];
        Assert.Null(Policy.BusyWorkerFor(entry));
    }

    [Fact]
    public void ABusyWorker_OfAnotherKind_IsNotAsked()
    {
        QueueWorker worker = _parts.Worker(
            "w", roles: WorkRoles.Encode, models: [new WorkerModel(s_here, ModelPlace.Loaded)]);
        worker.Held = 1;
        Assert.Null(Policy.BusyWorkerFor(Wait("a", 1, s_here)));
    }

    // A worker with one model in memory, and another model that is loaded or could be loaded.
    private QueueWorker Worker(ModelPlace other) =>
        _parts.Worker("w", models: [new WorkerModel(s_here, ModelPlace.Loaded), new WorkerModel(s_there, other)]);

    private static WorkItem Item(string tenant, int number, ModelDigest model, bool alone = false) =>
        Work.Denoise(tenant, number, 10) with { Model = model, Alone = alone };

    private WorkEntry Wait(string tenant, int number, ModelDigest model, bool alone = false) =>
        _parts.Wait(Item(tenant, number, model, alone));

    private static TenantShare Share(QueueWorker worker, WorkEntry entry) => worker.Pool!.Shares.Share(entry.Work);

    // Sets a tenant's virtual time and moves it to its place among the waiting tenants.
    private static void Virtual(QueueWorker worker, WorkEntry entry, double value)
    {
        Share(worker, entry).Virtual = value - 1;
        worker.Pool!.Shares.Charge(Share(worker, entry), 1);
    }

    private static void Served(QueueWorker worker, WorkEntry entry, double value) =>
        (Share(worker, entry).Virtual, Share(worker, entry).IsNew) = (value, false);
}
