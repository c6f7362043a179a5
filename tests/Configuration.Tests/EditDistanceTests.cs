// Goal: the distance counts letters inserted, deleted and replaced. Method: words by hand, and the distance's symmetry.
using Xunit;

namespace Atelier.Configuration.Tests;

public sealed class EditDistanceTests
{
    [Theory]
    [InlineData("", "", 0)]
    [InlineData("steps", "steps", 0)]
    [InlineData("", "abc", 3)]
    [InlineData("step", "steps", 1)]
    [InlineData("setps", "steps", 2)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("flaw", "lawn", 2)]
    [InlineData("abc", "xyz", 3)]
    [InlineData("a", "ba", 1)]
    public void Letters_InsertedDeletedAndReplaced_AreCounted(string one, string other, int distance)
    {
        Assert.Equal(distance, EditDistance.Between(one, other));
        Assert.Equal(distance, EditDistance.Between(other, one));
    }
}
