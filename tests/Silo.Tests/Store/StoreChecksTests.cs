// Goal: no cluster is built on a Redis that would lose what it accepted, and what may be lost is logged. Method: the
// verdict on each of its three settings.
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
}
