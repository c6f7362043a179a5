// Goal: tenants and addresses take memory only while they have requests in progress. Method: the counts during requests
// and after them, also where a request fails.
using Atelier.Gateway.Limits;
using Atelier.Gateway.Settings;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Gateway.Tests.Limits;

public sealed class OpenRequestsTests
{
    [Fact]
    public async Task CountsAreHeld_OnlyWhileRequestsAreInProgress()
    {
        var open = new OpenRequests(new GatewaySettings { ClusterId = "c", Secret = "" });
        int during = 0;
        await open.CheckAsync(new DefaultHttpContext(), _ =>
        {
            during = open.Count;
            return Task.CompletedTask;
        });
        Assert.NotEqual(0, during);
        Assert.Equal(0, open.Count);
        await Assert.ThrowsAsync<InvalidOperationException>(() => open.CheckAsync(
            new DefaultHttpContext(), _ => throw new InvalidOperationException("The request fails.")));
        Assert.Equal(0, open.Count);
    }
}
