// Goal: a verdict is right in every aspect. Method: hand-made perceptions.
using Atelier.Shapes.Captions;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Scenes;
using Xunit;

namespace Atelier.Shapes.Tests.Judging;

public sealed class JudgeTests
{
    private static readonly Expectation s_said = new(
        [
            new ExpectedThings(ThingKind.Star, 1, ThingColor.Red, ThingSize.Small),
            new ExpectedThings(ThingKind.House, 1, ThingColor.Blue, null),
        ],
        new ExpectedRelation(Relation.Above, ThingKind.Star, ThingKind.House), Background.NightSky, ArtStyle.Flat);

    private static readonly PerceivedThing s_star = new(ThingKind.Star, ThingColor.Red, new Spot(0.5, 0.2, 0.27), 1);
    private static readonly PerceivedThing s_house =
        new(ThingKind.House, ThingColor.Blue, new Spot(0.55, 0.7, 0.35), 1);

    [Fact]
    public void Picture_ThatShowsWhatWasSaid_Passes()
    {
        Verdict verdict = Judge.Check(s_said, Seen(s_house, s_star));
        Assert.True(verdict.All);
        Assert.All(Enum.GetValues<SceneTask>(), task => Assert.True(verdict.Passes(task)));
    }

    [Fact]
    public void EachFault_SpoilsItsAspect_AndNoOther()
    {
        Verdict right = Judge.Check(s_said, Seen(s_star, s_house));
        Assert.Equal(
            right with { Colors = false },
            Judge.Check(s_said, Seen(s_star, s_house with { Color = ThingColor.Pink })));

        // The size belongs to a red star, and there is none.
        Assert.Equal(right with { Colors = false, Sizes = false }, Judge.Check(
            s_said, Seen(s_star with { Color = ThingColor.Blue }, s_house with { Color = ThingColor.Red })));
        Assert.Equal(
            right with { Sizes = false },
            Judge.Check(s_said, Seen(s_star with { Spot = new Spot(0.5, 0.2, 0.45) }, s_house)));
        Assert.Equal(
            right with { Position = false },
            Judge.Check(s_said, Seen(s_star with { Spot = new Spot(0.5, 0.62, 0.27) }, s_house)));
        Assert.Equal(
            right with { Background = false, Style = false },
            Judge.Check(s_said, new Perception([s_star, s_house], Background.Plain, ArtStyle.PixelArt)));
    }

    [Fact]
    public void Things_AreCounted_AndNothingElseMayBeThere()
    {
        Assert.False(Judge.Check(s_said, Seen(s_star)).Things);
        PerceivedThing another = s_house with { Spot = new Spot(0.2, 0.2, 0.3) };
        Assert.False(Judge.Check(s_said, Seen(s_star, s_house, another)).Things);
        Assert.False(Judge.Check(s_said, Seen(s_star, s_house, s_star with { Kind = ThingKind.Moon })).Things);
        Assert.False(Judge.Check(s_said, Seen()).All);
    }

    [Theory]
    [InlineData(Relation.LeftOf, 0.2, 0.5, true)]
    [InlineData(Relation.LeftOf, 0.8, 0.5, false)]
    [InlineData(Relation.LeftOf, 0.3, 0.9, false)]
    [InlineData(Relation.LeftOf, 0.45, 0.5, false)]
    [InlineData(Relation.RightOf, 0.8, 0.6, true)]
    [InlineData(Relation.Above, 0.5, 0.2, true)]
    [InlineData(Relation.Below, 0.5, 0.2, false)]
    [InlineData(Relation.Inside, 0.2, 0.5, false)]
    public void Relation_HoldsAlongItsAxis_BeyondTheMargin(Relation relation, double x, double y, bool holds) =>
        Assert.Equal(holds, Placement.Holds(relation, new Spot(x, y, 0.27), new Spot(0.5, 0.5, 0.35)));

    [Fact]
    public void Inside_IsNotADirection_AndDirectionsAreNotInside()
    {
        Spot ring = new(0.5, 0.5, 0.66), fish = new(0.45, 0.52, 0.27);
        Assert.Equal(Relation.Inside, Placement.Between(fish, ring));
        Assert.Null(Placement.Between(ring, fish));
    }

    private static Perception Seen(params PerceivedThing[] things) => new(things, Background.NightSky, ArtStyle.Flat);
}
