// Goal: a tenant is looked up in the part of the list that contains it. Method: parts and names as they have been
// stored.
using Atelier.Contracts.Tenants;
using Xunit;

namespace Atelier.Contracts.Tests.Tenants;

public sealed class TenantListTests
{
    [Theory]
    [InlineData("local", 37)]
    [InlineData("alice", 24)]
    [InlineData("studio", 4)]
    [InlineData("a.b_c-9", 13)]
    [InlineData("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 30)]
    public void ATenantsPart_NeverChanges(string tenant, int part) =>
        Assert.Equal(part, TenantList.PartOf(new TenantId(tenant)));
}
