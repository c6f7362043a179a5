// Goal: virtual time is what was granted over the weight, no tenant gains by arriving, leaving or changing its weight,
// and the tenant that is furthest behind is served next. Method: the accounts of one pool alone, set manually.
using Atelier.Contracts.Queueing;
using Atelier.Grains.Queueing;
using Xunit;

namespace Atelier.Grains.Tests.Queueing;

public sealed class FairShareAccountsTests
{
    private readonly QueueParts _parts = new();
    private readonly FairShare _shares;

    public FairShareAccountsTests() => _shares = _parts.Worker("w").Pool!.Shares;

    [Fact]
    public void Classes_AreServed_OnceTheyAreAdmitted()
    {
        var shares = new FairShare();
        Assert.False(shares.Serves(3));
        shares.Admit(3, new WorkClass(Work.Model(1), WorkKind.Denoise, null, false));
        Assert.Equal((true, false), (shares.Serves(3), shares.Serves(4)));
        Assert.Null(shares.Next(Work.Model(1), alone: false));
    }

    [Fact]
    public void WhatWaits_IsCounted_ByCostAndByTenantsWeight()
    {
        WorkEntry one = Wait("a", 1, 4, 3), two = Wait("a", 2, 5, 3), other = Wait("b", 3, 6);
        Assert.Equal((15.0, 4.0), (_shares.CostWaiting, _shares.WeightWaiting));
        Assert.Equal((2, 1), (Share(one).Waiting, Share(other).Waiting));
        _parts.Waiting.Remove(one);
        Assert.Equal((11.0, 4.0), (_shares.CostWaiting, _shares.WeightWaiting));
        _parts.Waiting.Remove(two);
        Assert.Equal((6.0, 1.0), (_shares.CostWaiting, _shares.WeightWaiting));
        Assert.Same(other, Next());
        _parts.Waiting.Remove(other);
        Assert.Equal((0.0, 0.0), (_shares.CostWaiting, _shares.WeightWaiting));
        Assert.Null(Next());
    }

    [Fact]
    public void ACharge_CountsOverTheWeight_AndTheLeastServedIsNext()
    {
        WorkEntry a = Wait("a", 1, 50, 2), b = Wait("b", 2, 50);
        Assert.Same(b, Next());
        _shares.Charge(Share(b), 3);
        Assert.Equal((3.0, false), (Share(b).Virtual, Share(b).IsNew));
        Assert.Same(a, Next());
        _shares.Charge(Share(a), 8);
        Assert.Equal(4, Share(a).Virtual);
        Assert.Same(b, Next());
        Assert.Equal((true, false), (_shares.IsBefore(b, a), _shares.IsBefore(a, b)));
    }

    [Fact]
    public void Encodings_AreCharged_AndATenantStaysNew_UntilItsFirstStep()
    {
        WorkEntry a = Wait("a", 1, 50);
        Assert.True(Share(a).IsNew);
        _shares.Charge(Share(a), 3, isEncoding: true);
        Assert.Equal((3.0, true), (Share(a).Virtual, Share(a).IsNew));
        _shares.Charge(Share(a), 1);
        _shares.Charge(Share(a), 3, isEncoding: true);
        Assert.Equal((7.0, false), (Share(a).Virtual, Share(a).IsNew));
    }

    [Fact]
    public void OfATenantsWork_TheOldestIsNext()
    {
        WorkEntry late = Wait("a", 9, 5), early = Wait("a", 1, 5);
        Assert.Same(early, Next());
        Assert.Equal((true, false), (_shares.IsBefore(early, late), _shares.IsBefore(late, early)));
    }

    // Classes of one model that differ by device kind compete by their tenants, and by age within one.
    [Fact]
    public void AllClassesOfAModel_AreLookedAt()
    {
        WorkEntry any = Wait("a", 5, 5);
        WorkEntry bound = _parts.Wait(Work.Denoise("a", 1, 5) with { DeviceKind = "cpu" });
        WorkEntry alone = _parts.Wait(Work.Denoise("a", 0, 5) with { Alone = true });
        Assert.Same(bound, Next());
        _parts.Waiting.Remove(bound);
        Assert.Same(any, Next());
        Assert.Same(alone, _shares.Next(default, alone: true));
        Assert.Null(_shares.Next(Work.Model(1), alone: false));
    }

    [Fact]
    public void ANewcomer_StartsAtTheTimeOfThoseWhoWait_AndIsNew()
    {
        WorkEntry a = Wait("a", 1, 50);
        Assert.True(Share(a).IsNew);
        _shares.Charge(Share(a), 7);
        WorkEntry b = Wait("b", 2, 50);
        Assert.Equal((7.0, true), (Share(b).Virtual, Share(b).IsNew));
        Assert.Same(b, Next());
    }

    [Fact]
    public void WhoIsServedAlready_IsNoNewcomer()
    {
        WorkEntry a = Wait("a", 1, 50);
        _shares.Charge(Share(a), 7);
        QueueWorker worker = _parts.Worker("w");
        WorkEntry held = _parts.Hold(Work.Denoise("b", 2, 50), worker);
        WorkEntry b = Wait("b", 3, 50);
        Assert.Same(held.Share, Share(b));
        Assert.Equal((7.0, false), (Share(b).Virtual, Share(b).IsNew));
    }

    [Fact]
    public void WhoComesBackAhead_StillOwes()
    {
        WorkEntry a = Wait("a", 1, 50), b = Wait("b", 2, 50);
        _shares.Charge(Share(a), 1);
        _shares.Charge(Share(b), 20);
        _parts.Waiting.Remove(b);
        WorkEntry again = Wait("b", 3, 50);
        Assert.Equal((20.0, false), (Share(again).Virtual, Share(again).IsNew));
        Assert.Same(a, Next());
    }

    // A tenant that was served while no other waited owes nothing to those that arrive later.
    [Fact]
    public void WhileNobodyWaits_NobodyOwes()
    {
        QueueWorker worker = _parts.Worker("w");
        WorkEntry held = _parts.Hold(Work.Denoise("a", 1, 50), worker);
        _shares.Charge(held.Share!, 10);
        _shares.Charge(held.Share!, 10);
        WorkEntry b = Wait("b", 2, 50);
        Assert.Equal((20.0, 10.0), (held.Share!.Virtual, Share(b).Virtual));
        _parts.Waiting.Remove(b);
        WorkEntry other = _parts.Hold(Work.Denoise("c", 3, 50), worker);
        _shares.Charge(other.Share!, 5);
        Assert.Equal(15, other.Share!.Virtual);
    }

    [Fact]
    public void TimeNeverRunsBack()
    {
        WorkEntry a = Wait("a", 1, 50);
        _shares.Charge(Share(a), 30);
        _parts.Waiting.Remove(a);
        WorkEntry b = Wait("b", 2, 50);
        Assert.Equal(30, Share(b).Virtual);
    }

    // A lead of 30 operations is 30 of virtual time at weight 1 and 10 at weight 3.
    [Fact]
    public void AnotherWeight_KeepsTheLead_InOperations()
    {
        WorkEntry a = Wait("a", 1, 50), b = Wait("b", 2, 50);
        _shares.Charge(Share(b), 2);
        _shares.Charge(Share(a), 32);
        a.Work.Weight = 3;
        _shares.OnWeightChanged(a.Work, 1);
        Assert.Equal((12.0, 4.0), (Share(a).Virtual, _shares.WeightWaiting));
        Assert.Same(b, Next());

        // A tenant that is not ahead keeps its virtual time.
        b.Work.Weight = 5;
        _shares.OnWeightChanged(b.Work, 1);
        Assert.Equal((2.0, 8.0), (Share(b).Virtual, _shares.WeightWaiting));
        _parts.Waiting.Remove(a);
        a.Work.Weight = 6;
        _shares.OnWeightChanged(a.Work, 3);
        Assert.Equal((7.0, 5.0), (Share(a).Virtual, _shares.WeightWaiting));
    }

    [Fact]
    public void AnotherWeight_CanChangeWhoIsNext()
    {
        WorkEntry a = Wait("a", 1, 50), b = Wait("b", 2, 50), c = Wait("c", 3, 50);
        _shares.Charge(Share(a), 20);
        _shares.Charge(Share(b), 10);
        _shares.Charge(Share(c), 15);
        a.Work.Weight = 4;
        _shares.OnWeightChanged(a.Work, 1);
        Assert.Equal((b, 12.5), (Next(), Share(a).Virtual));
        _parts.Waiting.Remove(b);
        Assert.Same(a, Next());
    }

    [Fact]
    public void WhoHasNoWork_IsForgotten_OnceTheOthersHaveCaughtUp()
    {
        WorkEntry a = Wait("a", 1, 50), b = Wait("b", 2, 50);
        _shares.Charge(Share(a), 1);
        _shares.Charge(Share(b), 10);
        TenantShare ahead = Share(b);
        Leave(b);
        Assert.True(ahead.IsLeaving);
        Assert.Same(ahead, Share(b));
        _shares.Charge(Share(a), 8);
        _shares.Leave(a.Work);
        Assert.Same(ahead, Share(b));
        _shares.Charge(Share(a), 1);
        _shares.Leave(a.Work);
        Assert.NotSame(ahead, Share(b));
    }

    [Fact]
    public void WhoHasCaughtUp_IsForgottenAtOnce_AndWhoIsServedIsNot()
    {
        WorkEntry a = Wait("a", 1, 50);
        TenantShare share = Share(a);
        Leave(a);
        Assert.NotSame(share, Share(a));

        WorkEntry held = _parts.Hold(Work.Denoise("b", 2, 50), _parts.Worker("w"));
        _shares.Leave(held.Work);
        Assert.Same(held.Share, Share(held));
        Assert.False(held.Share!.IsLeaving);
    }

    [Fact]
    public void WhoComesBackWhileItIsBeingForgotten_Stays()
    {
        WorkEntry a = Wait("a", 1, 50), b = Wait("b", 2, 50);
        _shares.Charge(Share(a), 1);
        _shares.Charge(Share(b), 10);
        TenantShare ahead = Share(b);
        Leave(b);
        WorkEntry again = Wait("b", 3, 50);
        _shares.Charge(Share(a), 30);
        _shares.Leave(a.Work);
        Assert.Same(ahead, Share(again));
        Assert.False(ahead.IsLeaving);
        Assert.Same(again, Next());
    }

    private void Leave(WorkEntry entry)
    {
        _parts.Waiting.Remove(entry);
        _parts.Waiting.Leave(entry.Work);
    }

    private WorkEntry Wait(string tenant, int number, double cost, double weight = 1) =>
        _parts.Wait(Work.Denoise(tenant, number, 1, cost, weight));

    private TenantShare Share(WorkEntry entry) => _shares.Share(entry.Work);

    private WorkEntry? Next() => _shares.Next(default, alone: false);
}
