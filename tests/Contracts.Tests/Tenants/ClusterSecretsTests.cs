// Goal: whatever is wrong with a pair of secrets is reported by its key and without the secret, and a signature is
// valid under the current and the accepted secret alone. Method: pairs of secrets, and the four steps of a rotation.
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Contracts.Tests.Tenants;

public sealed class ClusterSecretsTests
{
    private static readonly byte[] s_old = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];
    private static readonly byte[] s_new = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    // The processes of each step of a rotation.
    private static readonly (byte[] Secret, byte[]? Accepted)[] s_steps =
        [(s_old, null), (s_old, s_new), (s_new, s_old), (s_new, null)];

    [Theory]
    [InlineData(32, null)]
    [InlineData(32, 32)]
    [InlineData(64, 33)]
    public void SecretsThatDiffer_AreValid(int length, int? accepted) => Assert.Empty(Faults(
        Text(length, 1), accepted is { } other ? Text(other, 2) : null));

    [Theory]
    [InlineData("", null, "Secret must be 32 bytes or more in base64, the same for all silos and gateways.")]
    [InlineData("c2hvcnQ=", null, "Secret must be 32 bytes")]
    [InlineData("not base64!", null, "Secret must be 32 bytes")]
    [InlineData(null, "", "Accepted must be 32 bytes or more in base64, or not be set.")]
    [InlineData(null, "c2hvcnQ=", "Accepted must be 32 bytes")]
    [InlineData(null, "not base64!", "Accepted must be 32 bytes")]
    public void ASecretThatIsTooShort_IsNamed(string? secret, string? accepted, string fault)
    {
        string found = Assert.Single(Faults(secret ?? Text(32, 1), accepted));
        Assert.StartsWith(fault, found, StringComparison.Ordinal);
        Assert.DoesNotContain("c2hvcnQ", found, StringComparison.Ordinal);
    }

    [Fact]
    public void EqualSecrets_AreRefused_HoweverTheyAreWritten()
    {
        string secret = Text(32, 1);
        foreach (string same in (string[])[secret, secret.Insert(8, "\n"), secret + " "])
        {
            string fault = Assert.Single(Faults(secret, same));
            Assert.StartsWith("Accepted must differ from Secret", fault, StringComparison.Ordinal);
            Assert.DoesNotContain(secret, fault, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void BothSecrets_AreCheckedAtOnce() => Assert.Equal(2, Faults("", "").Length);

    [Fact]
    public void AnAcceptedSecret_IsAReminder()
    {
        Assert.Null(ClusterSecrets.Warning("Accepted", null));
        string? warning = ClusterSecrets.Warning("Accepted", Text(32, 1));
        Assert.StartsWith("Accepted is set", warning, StringComparison.Ordinal);
        Assert.DoesNotContain(Text(32, 1), warning, StringComparison.Ordinal);
    }

    [Fact]
    public void TicketsAndLinks_OfNeighboringSteps_AreValid_AndOthersAreForged()
    {
        var caller = new Caller(new TenantId("alice"), IsAdmin: false);
        var picture = new GenerationKey(new TenantId("alice"), new GenerationId("g"));
        for (int signer = 0; signer < s_steps.Length; signer++)
        {
            Tickets of = TicketsOf(s_steps[signer]);
            (string ticket, string link) = (of.Sign(caller, "GET", "/", []), of.Link(picture, "png"));
            for (int reader = 0; reader < s_steps.Length; reader++)
            {
                (byte[] secret, byte[]? accepted) = s_steps[reader];
                bool isKnown = secret == s_steps[signer].Secret || accepted == s_steps[signer].Secret;
                Assert.True(isKnown || Math.Abs(signer - reader) > 1);
                Tickets to = TicketsOf(s_steps[reader]);
                Assert.Equal(isKnown, to.TryRead(ticket, "GET", "/", out Caller read));
                Assert.Equal(isKnown ? caller : default, read);
                Assert.Equal(isKnown, to.TryReadLink(link, out _, out _));
                Assert.False(to.TryRead(ticket, "PUT", "/", out _));
            }

            Assert.False(TicketsOf((new byte[32], null)).TryRead(ticket, "GET", "/", out _));
        }
    }

    [Fact]
    public void AnAcceptedSecretThatIsTooShort_SignsNothing() =>
        Assert.Throws<ArgumentException>(() => TicketsOf((s_old, new byte[31])));

    private static Tickets TicketsOf((byte[] Secret, byte[]? Accepted) step) =>
        new(step.Secret, TimeProvider.System, step.Accepted);

    private static string[] Faults(string secret, string? accepted) =>
        [.. ClusterSecrets.Faults("Secret", secret, "Accepted", accepted)];

    private static string Text(int length, byte fill) =>
        Convert.ToBase64String([.. Enumerable.Repeat(fill, length)]);
}
