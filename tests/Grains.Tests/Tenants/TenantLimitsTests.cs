// Goal: limits hold, say when to come back, and survive a crash within a hundredth. Method: explicit times.
using Atelier.Contracts;
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
        limits.Ended(new GenerationId("g1"));
        Assert.Equal(AdmissionOutcome.Admitted, Admit(limits, 3, s_now).Outcome);
    }

    [Fact]
    public void EvaluationsADay_BeginAnewAtMidnight()
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
            Assert.Equal(AdmissionOutcome.Admitted, limits.Admit(new GenerationId($"g{i}"), evaluations, s_now, out bool store).Outcome);
            (used, stores) = (used + evaluations, stores + (store ? 1 : 0));
            Assert.InRange(new TenantLimits(state).UsedToday(s_now), used, used + 1000);
        }

        Assert.InRange(stores, 1, 20);
    }

    [Fact]
    public void ClosedTenant_MayNothing()
    {
        var state = new TenantState { Settings = new TenantSettings(), IsClosed = true };
        Assert.Equal(AdmissionOutcome.UnknownTenant, Admit(new TenantLimits(state), 1, s_now).Outcome);
        Assert.Equal(AdmissionOutcome.UnknownTenant, Admit(new TenantLimits(new TenantState()), 1, s_now).Outcome);
    }

    private static Admission Admit(TenantLimits limits, int number, DateTimeOffset now, int evaluations = 1) =>
        limits.Admit(new GenerationId($"g{number}"), evaluations, now, out _);

    private static TenantLimits Limits(TenantSettings settings, out TenantState state) =>
        new(state = new TenantState { Settings = settings });
}
