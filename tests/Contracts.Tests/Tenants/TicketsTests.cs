// Goal: a gateway and a silo of neighboring releases read each other's tickets and links. Method: the texts that the
// release before has signed.
using System.Text;
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Contracts.Tests.Tenants;

public sealed class TicketsTests
{
    private static readonly Tickets s_tickets = new(
        Encoding.UTF8.GetBytes("a secret of the tests, of 32 bytes or more"), new FixedClock());

    [Fact]
    public void Tickets_AreThoseOfTheReleaseBefore()
    {
        const string Ticket =
            "studio.0.1767323045000.RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o."
            + "_Ne0GhYCP9K_FWPPfUTe91YcWipIfTN_g5nfGH52pKQ";
        const string Path = "/v1/sessions?a=b";
        var caller = new Caller(new TenantId("studio"), IsAdmin: false);
        byte[] body = "{}"u8.ToArray();
        Assert.Equal(Ticket, s_tickets.Sign(caller, "POST", Path, body));
        Assert.True(s_tickets.TryRead(Ticket, "POST", Path, out Caller read, body));
        Assert.Equal(caller, read);
    }

    [Fact]
    public void Links_AreThoseOfTheReleaseBefore()
    {
        const string Link = "studio.moon.png.1767326645.h6cR4FZjR6WPGisXRFaU9RQhFSyy1UeB8JDiZfkA2Co";
        var generation = new GenerationKey(new TenantId("studio"), new GenerationId("moon"));
        Assert.Equal(Link, s_tickets.Link(generation, "png"));
        Assert.True(s_tickets.TryReadLink(Link, out GenerationKey read, out string format));
        Assert.Equal((generation, "png"), (read, format));
    }

    private sealed class FixedClock : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
    }
}
