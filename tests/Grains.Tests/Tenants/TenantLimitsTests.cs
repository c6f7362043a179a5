// Goal: limits hold, say when to retry, survive moves and crashes, and charge only for what was computed. Method:
// explicit times; a long random scenario in which nothing is ever refunded that was not charged.
using Atelier.Contracts;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Tenants;
using Xunit;

namespace Atelier.Grains.Tests.Tenants;

public sealed class TenantLimitsTests
{
    private static readonly DateTimeOffset s_now = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void RequestsAMinute_FillUpAgain()
    {
        TenantLimits limits = Limits(new TenantSettings { RequestsPerMinute = 60 }, out _);
        for (int i = 0; i < 60; i++)
        {
            Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, i, s_now).Outcome);
        }

        Admission refused = Admit(limits, 60, s_now);
        Assert.Equal(AdmissionOutcome.RateLimited, refused.Outcome);
        Assert.Equal(1, refused.RetryAfter!.Value.TotalSeconds, 6);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 60, s_now.AddSeconds(1)).Outcome);
        Assert.Equal(AdmissionOutcome.RateLimited, Admit(limits, 61, s_now.AddSeconds(1)).Outcome);
    }

    [Fact]
    public void OpenGenerations_AreCountedOnce_AndEnd()
    {
        TenantLimits limits = Limits(new TenantSettings { OpenGenerations = 2 }, out _);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 1, s_now).Outcome);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 1, s_now).Outcome);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 2, s_now).Outcome);
        Assert.Equal(AdmissionOutcome.TooManyOpen, Admit(limits, 3, s_now).Outcome);
        limits.Settle(new GenerationId("g1"), 0);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 3, s_now).Outcome);
    }

    [Fact]
    public void EvaluationsPerDay_StartAgainAtMidnight()
    {
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 100 }, out _);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 1, s_now, 99).Outcome);
        Admission refused = Admit(limits, 2, s_now, 2);
        Assert.Equal((AdmissionOutcome.DailyLimit, TimeSpan.FromHours(12)), (refused.Outcome, refused.RetryAfter));
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 2, s_now.AddHours(12), 2).Outcome);
    }

    [Fact]
    public void Restart_ForgetsNoEvaluation_AndCostsAHundredthAtMost()
    {
        var random = new Random(1);
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 100_000 }, out TenantState state);
        long used = 0;
        int stores = 0;
        for (int i = 0; i < 300; i++)
        {
            int evaluations = random.Next(15, 100);
            Assert.Equal(
                AdmissionOutcome.Admitted,
                limits.Admit(new GenerationId($"g{i}"), evaluations, s_now, out bool store).Outcome);
            (used, stores) = (used + evaluations, stores + (store ? 1 : 0));
            Assert.InRange(new TenantLimits(state).UsedToday(s_now), used, used + 1000);
        }

        Assert.InRange(stores, 1, 20);
    }

    [Fact]
    public void UncomputedEvaluations_AreRefunded_Once()
    {
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 10_000 }, out _);
        Admit(limits, 1, s_now, 1999);
        Admit(limits, 2, s_now, 1999);
        limits.Settle(Id(1), 8);
        Assert.Equal(1999 + 8, limits.UsedToday(s_now));
        limits.Settle(Id(1), 0);
        limits.Settle(Id(3), 0);
        Assert.Equal(1999 + 8, limits.UsedToday(s_now));
        limits.Settle(Id(2), 5000);
        Assert.Equal(1999 + 8, limits.UsedToday(s_now));
    }

    [Fact]
    public void YesterdaysCharges_AreNotRefundedToday()
    {
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 10_000 }, out _);
        Admit(limits, 1, s_now, 1999);
        Admit(limits, 2, s_now.AddDays(1), 10);
        limits.Settle(Id(1), 0);
        Assert.Equal(10, limits.UsedToday(s_now.AddDays(1)));
    }

    [Fact]
    public void AfterAMove_OpenGenerationsCount_AndAreRefundedAsCharged()
    {
        var settings = new TenantSettings { EvaluationsPerDay = 10_000, OpenGenerations = 2 };
        TenantLimits before = Limits(settings, out TenantState state);
        Admission admission = Admit(before, 1, s_now, 1999);
        before.Checkpoint(s_now);
        var limits = new TenantLimits(state);
        limits.AddOpen(Id(1), s_now);
        limits.AddOpen(Id(2), s_now);
        Assert.Equal(AdmissionOutcome.TooManyOpen, Admit(limits, 3, s_now).Outcome);

        // Work that only the open set knows of is not refunded: it may have been refunded already.
        limits.Settle(Id(2), 0);
        Assert.Equal(1999, limits.UsedToday(s_now));
        limits.Confirm(Id(1), 1999, admission.Day, s_now);
        limits.Settle(Id(1), 10);
        Assert.Equal(10, limits.UsedToday(s_now));
    }

    [Fact]
    public void ARefundWithoutARequest_SurvivesAMove()
    {
        TenantLimits before = Limits(new TenantSettings { EvaluationsPerDay = 10_000 }, out TenantState state);
        Admission admission = Admit(before, 1, s_now, 1999); // Its tokens are never stored: the silo dies.
        var limits = new TenantLimits(state);
        limits.Confirm(Id(1), 1999, admission.Day, s_now);
        limits.Settle(Id(1), 10);
        long used = limits.UsedToday(s_now);
        Assert.True(limits.Checkpoint(s_now));
        Assert.Equal(used, new TenantLimits(state).UsedToday(s_now));
        Assert.Null(state.Tokens);
    }

    // A stale activation on the other side of a partition may confirm it after its end. Admitted again, it is charged
    // again.
    [Fact]
    public void AGenerationThatIsConfirmedAfterItsEnd_IsOpen_AndIsNotRefundedAgain()
    {
        TenantLimits limits = Limits(new TenantSettings(), out _);
        Admission admission = limits.Admit(Id(1), 19, s_now, out _);
        limits.Settle(Id(1), 5);
        limits.Confirm(Id(1), 19, admission.Day, s_now);
        Assert.Equal((1, 5L), (limits.Open, limits.UsedToday(s_now)));
        limits.Settle(Id(1), 5);
        Assert.Equal((0, 5L), (limits.Open, limits.UsedToday(s_now)));
        limits.Admit(Id(1), 19, s_now, out _);
        limits.Settle(Id(1), 3);
        Assert.Equal((0, 8L), (limits.Open, limits.UsedToday(s_now)));
    }

    [Fact]
    public void AnOccasionalTenant_MayUseItsDailyLimit()
    {
        var state = new TenantState { Settings = new TenantSettings { EvaluationsPerDay = 10_000 } };
        DateTimeOffset now = s_now.AddHours(-12);
        for (int i = 0; i < 90; i++)
        {
            var limits = new TenantLimits(state);
            Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, i, now, 111).Outcome);
            Assert.True(limits.Checkpoint(now));
            now += TimeSpan.FromMinutes(15.9);
        }

        Assert.Equal(9990, new TenantLimits(state).UsedToday(now));
    }

    [Fact]
    public void RequestsAMinute_HoldOverAMove()
    {
        var state = new TenantState { Settings = new TenantSettings { RequestsPerMinute = 60 } };
        int admitted = 0;
        for (int move = 0; move < 10; move++)
        {
            var limits = new TenantLimits(state);
            for (int i = 0; i < 50; i++)
            {
                admitted += Admit(limits, (100 * move) + i, s_now).Outcome == AdmissionOutcome.Admitted ? 1 : 0;
            }

            Assert.True(limits.Checkpoint(s_now));
        }

        Assert.Equal(60, admitted);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(new TenantLimits(state), 1, s_now.AddSeconds(1)).Outcome);

        // Nothing is written for a tenant that did nothing.
        Assert.False(new TenantLimits(state).Checkpoint(s_now.AddMinutes(2)));
    }

    [Fact]
    public void UnconfirmedGenerations_AreListed()
    {
        TenantLimits limits = Limits(new TenantSettings(), out _);
        Admit(limits, 1, s_now);
        Admit(limits, 2, s_now);
        limits.AddOpen(Id(3), s_now);
        limits.Confirm(Id(2), 1, 0, s_now.AddMinutes(1));
        Assert.Empty(limits.Unconfirmed(TimeSpan.FromMinutes(1), s_now.AddSeconds(60)));
        Assert.Equal([Id(1), Id(3)], limits.Unconfirmed(TimeSpan.FromMinutes(1), s_now.AddSeconds(61)));
    }

    [Fact]
    public void ARequest_TakesOneOfTheMinute_WhateverItIsFor()
    {
        TenantLimits limits = Limits(new TenantSettings { RequestsPerMinute = 2, Weight = 3 }, out TenantState state);
        state.WeightVersion = 7;
        Admission admission = limits.AdmitRequest(s_now);
        Assert.Equal(
            (AdmissionOutcome.Admitted, 3.0, 7L), (admission.Outcome, admission.Weight, admission.WeightVersion));
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 1, s_now).Outcome);
        Admission refused = limits.AdmitRequest(s_now);
        Assert.Equal((AdmissionOutcome.RateLimited, 3.0), (refused.Outcome, refused.Weight));
        Assert.Equal(TimeSpan.FromSeconds(30), refused.RetryAfter);
        Assert.Contains("2 requests per minute", refused.Message, StringComparison.Ordinal);

        // Half a request is available after 15 s, and a whole one after 30 s.
        Assert.Equal(TimeSpan.FromSeconds(15), limits.AdmitRequest(s_now.AddSeconds(15)).RetryAfter);
        Assert.Equal(AdmissionOutcome.Admitted, limits.AdmitRequest(s_now.AddSeconds(30)).Outcome);
        Assert.Equal(AdmissionOutcome.RateLimited, limits.AdmitRequest(s_now.AddSeconds(30)).Outcome);
    }

    [Fact]
    public void TheMinutesBucket_HoldsNoMoreThanAMinutesRequests_AndAClockThatIsSetBackFillsNothing()
    {
        TenantLimits limits = Limits(new TenantSettings { RequestsPerMinute = 2 }, out _);
        limits.AdmitRequest(s_now);
        limits.AdmitRequest(s_now.AddHours(1));
        limits.AdmitRequest(s_now.AddHours(1));
        Assert.Equal(AdmissionOutcome.RateLimited, limits.AdmitRequest(s_now.AddHours(1)).Outcome);
        Assert.Equal(AdmissionOutcome.RateLimited, limits.AdmitRequest(s_now).Outcome);
        Assert.Equal(AdmissionOutcome.Admitted, limits.AdmitRequest(s_now.AddSeconds(30)).Outcome);
    }

    [Fact]
    public void ATenantWithoutRequests_IsToldToComeBackInAMinute()
    {
        TenantLimits limits = Limits(new TenantSettings { RequestsPerMinute = 0 }, out _);
        Admission refused = limits.AdmitRequest(s_now);
        Assert.Equal((AdmissionOutcome.RateLimited, TimeSpan.FromMinutes(1)), (refused.Outcome, refused.RetryAfter));
    }

    // The same generation again costs neither a request nor evaluations, and names the day that it was charged to.
    [Fact]
    public void TheSameGenerationAgain_IsAdmitted_AtNoCost()
    {
        TenantLimits limits = Limits(
            new TenantSettings { RequestsPerMinute = 1, OpenGenerations = 1, EvaluationsPerDay = 10 }, out _);
        Admission first = limits.Admit(Id(1), 10, s_now, out bool store);
        Assert.True(store);
        Admission again = limits.Admit(Id(1), 10, s_now.AddDays(1), out store);
        Assert.Equal((first, false), (again, store));
        Assert.Equal((s_now - DateTimeOffset.UnixEpoch).Days, again.Day);
        Assert.Equal((1, 10L), (limits.Open, limits.UsedToday(s_now)));
    }

    // A generation that only the open set knows has its place already, and is charged when it is admitted.
    [Fact]
    public void AGenerationThatIsOpen_NeedsNoSecondPlace()
    {
        TenantLimits limits = Limits(new TenantSettings { OpenGenerations = 2 }, out _);
        limits.AddOpen(Id(1), s_now);
        limits.AddOpen(Id(2), s_now);
        limits.AddOpen(Id(2), s_now);
        Assert.Equal((2, true, false), (limits.Open, limits.Has(Id(1)), limits.Has(Id(3))));
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 1, s_now, 7).Outcome);
        Assert.Equal(7, limits.UsedToday(s_now));
        Admission refused = Admit(limits, 3, s_now);
        Assert.Equal((AdmissionOutcome.TooManyOpen, TimeSpan.FromSeconds(5)), (refused.Outcome, refused.RetryAfter));
        Assert.Contains("2 open generations", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheDaysLastEvaluation_MayBeUsed_AndWhatIsLeftIsSaid()
    {
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 100 }, out _);
        Admit(limits, 1, s_now, 60);
        Admission refused = Admit(limits, 2, s_now, 41);
        Assert.Equal(AdmissionOutcome.DailyLimit, refused.Outcome);
        Assert.Contains(
            "100 evaluations per day; 40 are left, and this generation takes 41", refused.Message,
            StringComparison.Ordinal);
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 2, s_now, 40).Outcome);
        Assert.Equal((100L, 0L), (limits.UsedToday(s_now), limits.UsedToday(s_now.AddDays(1))));
    }

    // Evaluations are stored in blocks of a hundredth, ahead, and never beyond the day's limit.
    [Fact]
    public void TheDaysCount_IsStoredAhead_ByAHundredth()
    {
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 1000 }, out TenantState state);
        Assert.True(Use(1, 5, s_now));
        Assert.Equal((15L, (s_now - DateTimeOffset.UnixEpoch).Days), (state.Reserved, state.Day));
        Assert.False(Use(2, 10, s_now));
        Assert.True(Use(3, 1, s_now));
        Assert.Equal(26, state.Reserved);
        Assert.True(Use(4, 980, s_now));
        Assert.Equal(1000, state.Reserved);
        Assert.True(Use(5, 1, s_now.AddDays(1)));
        Assert.Equal((11L, (s_now - DateTimeOffset.UnixEpoch).Days + 1), (state.Reserved, state.Day));

        bool Use(int number, int evaluations, DateTimeOffset now)
        {
            Assert.Equal(AdmissionOutcome.Admitted, limits.Admit(Id(number), evaluations, now, out bool store).Outcome);
            return store;
        }
    }

    // A stored count that is more than two blocks too high is stored again.
    [Fact]
    public void WhatIsGivenBack_IsStored_WhenItIsWorthIt()
    {
        TenantLimits limits = Limits(new TenantSettings { EvaluationsPerDay = 1000 }, out TenantState state);
        Admit(limits, 1, s_now, 10);
        Admit(limits, 2, s_now, 10);
        Admit(limits, 3, s_now, 100);
        Assert.Equal(130, state.Reserved);
        Assert.False(limits.Settle(Id(1), 0));
        Assert.Equal((110L, 130L), (limits.UsedToday(s_now), state.Reserved));
        Assert.True(limits.Settle(Id(3), 99));
        Assert.Equal((109L, 119L), (limits.UsedToday(s_now), state.Reserved));
        Assert.False(limits.Settle(Id(3), 0));
        Assert.Equal((109L, false), (limits.UsedToday(s_now), limits.Has(Id(3))));
    }

    [Fact]
    public void ATenantThatRests_KeepsItsCountsExactly()
    {
        TenantLimits limits = Limits(
            new TenantSettings { RequestsPerMinute = 60, EvaluationsPerDay = 1000 }, out TenantState state);
        Assert.False(limits.Checkpoint(s_now));
        Assert.Null(state.Tokens);
        Admit(limits, 1, s_now, 5);
        Assert.Equal(15, state.Reserved);
        Assert.True(limits.Checkpoint(s_now.AddSeconds(0.5)));
        Assert.Equal((5L, s_now.AddSeconds(0.5)), (state.Reserved, state.TokensAt));
        Assert.Equal(59.5, state.Tokens!.Value, 6);
        Assert.True(limits.Checkpoint(s_now.AddSeconds(0.75)));
        Assert.False(limits.Checkpoint(s_now.AddSeconds(2)));
        Assert.False(new TenantLimits(new TenantState()).Checkpoint(s_now));
    }

    // Admissions, ends that are reported once, twice or never, confirmations, moves and crashes: in any sequence, a
    // day's use is at least what was computed and what open generations may still take.
    [Fact]
    public void NothingIsRefunded_ThatWasNotCharged()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            var settings = new TenantSettings { EvaluationsPerDay = 100_000, RequestsPerMinute = 1_000_000 };
            TenantLimits limits = Limits(settings, out TenantState stored);
            var open = new Dictionary<int, (int Charged, long Day)>();
            long computed = 0;
            TenantState state = Copy(stored);
            for (int move = 0; move < 200; move++)
            {
                int one = open.Count == 0 ? -1 : open.Keys.ElementAt(random.Next(open.Count));
                switch (random.Next(8))
                {
                    case 0 or 1 or 2:
                        int evaluations = random.Next(1, 2000);
                        Admission admission = limits.Admit(Id(move), evaluations, s_now, out bool store);
                        if (admission.Outcome == AdmissionOutcome.Admitted)
                        {
                            open[move] = (evaluations, admission.Day);
                            state = store ? Copy(stored) : state;
                        }

                        break;
                    case 3 or 4 when one >= 0:
                        int part = random.Next(open[one].Charged + 1);
                        computed += part;
                        open.Remove(one);
                        for (int times = random.Next(3); times > 0; times--)
                        {
                            state = limits.Settle(Id(one), part) ? Copy(stored) : state;
                        }

                        break;
                    case 5 when one >= 0:
                        limits.Confirm(Id(one), open[one].Charged, open[one].Day, s_now);
                        break;
                    case 6 when random.Next(4) == 0:
                        limits.Checkpoint(s_now);
                        (limits, stored) = Restarted(Copy(stored));
                        state = Copy(stored);
                        break;
                    case 7 when random.Next(4) == 0:
                        (limits, stored) = Restarted(state);
                        state = Copy(stored);
                        break;
                    default:
                        break;
                }

                long least = computed + open.Values.Sum(one => one.Charged);
                Assert.True(limits.UsedToday(s_now) >= least, $"{limits.UsedToday(s_now)} of {least}, seed={seed}");
            }

            (TenantLimits, TenantState) Restarted(TenantState from)
            {
                var next = new TenantLimits(from);
                Enumerable.Range(0, 200).Where(i => random.Next(4) == 0 || open.ContainsKey(i)).ToList()
                    .ForEach(i => next.AddOpen(Id(i), s_now));
                return (next, from);
            }
        }
    }

    [Fact]
    public void ClosedTenant_MayDoNothing()
    {
        var state = new TenantState { Settings = new TenantSettings(), IsClosed = true };
        Assert.Equal(AdmissionOutcome.UnknownTenant, Admit(new TenantLimits(state), 1, s_now).Outcome);
        Assert.Equal(AdmissionOutcome.UnknownTenant, Admit(new TenantLimits(new TenantState()), 1, s_now).Outcome);
    }

    private static GenerationId Id(int number) => new($"g{number}");

    private static TenantState Copy(TenantState state) => new()
    {
        Settings = state.Settings, Day = state.Day, Reserved = state.Reserved, Tokens = state.Tokens,
        TokensAt = state.TokensAt,
    };

    private static Admission Admit(TenantLimits limits, int number, DateTimeOffset now, int evaluations = 1) =>
        limits.Admit(new GenerationId($"g{number}"), evaluations, now, out _);

    private static TenantLimits Limits(TenantSettings settings, out TenantState state) =>
        new(state = new TenantState { Settings = settings });
}
