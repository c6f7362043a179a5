// Goal: no cluster is built on a Redis that would lose what it accepted, and what may be lost is logged. Method: the
// verdict on each of its three settings. The start of a silo with such a server: Hosting/StartFaultsTests.cs.
using Atelier.Silo.Store;
using Xunit;

namespace Atelier.Silo.Tests.Store;

public sealed class StoreChecksTests
{
    [Theory]
    [InlineData("yes", "always", "noeviction")]
    [InlineData("yes", "always", null)]
    public void AStoreThatKeepsWhatItAccepts_IsTaken(string appendOnly, string fsync, string? eviction) =>
        Assert.Empty(StoreChecks.Judge(appendOnly, fsync, eviction));

    // The last two do not report how often they flush.
    [Theory]
    [InlineData("everysec")]
    [InlineData("sometimes")]
    [InlineData(null)]
    public void OneThatMayLoseASecond_IsTaken_WithAWarning(string? fsync) => Assert.Contains(
        "last second", Assert.Single(StoreChecks.Judge("yes", fsync, "noeviction")), StringComparison.Ordinal);

    [Theory]
    [InlineData("no", "always", "noeviction")]
    [InlineData(null, "always", "noeviction")]
    [InlineData("yes", "no", "noeviction")]
    [InlineData("yes", "always", "allkeys-lru")]
    [InlineData("yes", "always", "volatile-ttl")]
    public void OneThatWouldLoseWhatItAccepted_IsRefused_WithWhatItHas(
        string? appendOnly, string? fsync, string? eviction)
    {
        string message = Assert.Throws<InvalidOperationException>(
            () => StoreChecks.Judge(appendOnly, fsync, eviction)).Message;
        Assert.EndsWith($"has {appendOnly ?? "?"}, {fsync} and {eviction}.", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-11, "11 s behind the store's")]
    [InlineData(3600, "3600 s ahead of the store's")]
    [InlineData(10, null)]
    [InlineData(-10, null)]
    public void ClocksThatAreApart_AreAWarning(int seconds, string? warning)
    {
        string? found = StoreChecks.JudgeClock(TimeSpan.FromSeconds(seconds));
        Assert.Equal(warning is null, found is null);
        Assert.Contains(warning ?? "", found ?? "", StringComparison.Ordinal);
    }
}
