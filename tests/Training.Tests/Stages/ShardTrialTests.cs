// Goal: the trainer that is wrong is named whenever it can be determined, and otherwise no trainer is named. Method:
// all cases of first claims and of claims in the trial.
using Atelier.Training.Stages;
using Atelier.Training.Tests.Worlds;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Stages;

public sealed class ShardTrialTests
{
    private const double NaN = double.NaN;
    private static readonly TrainerId s_a = TestWorlds.A, s_b = TestWorlds.B, s_c = TestWorlds.C;
    private static readonly TrainerId[] s_two = [s_a, s_b], s_three = [s_a, s_b, s_c];

    [Fact]
    public void OwnerThatDiffersFromTheOthers_IsWrong() =>
        Named(s_a, new Case(Trial(2, 1), s_three).With(s_a, 2).With(s_b, 1).With(s_c, 1));

    [Fact]
    public void VerifierThatDiffersFromTheOthers_IsWrong() =>
        Named(s_b, new Case(Trial(1, 2), s_three).With(s_a, 1).With(s_b, 2).With(s_c, 1));

    [Fact]
    public void WrongOnlyOnce_IsStillWrong() =>
        Named(s_a, new Case(Trial(2, 1), s_three).With(s_a, 1).With(s_b, 1).With(s_c, 1));

    [Fact]
    public void SomebodyElse_ThatDiffers_IsWrongToo() =>
        Named([s_a, s_c], new Case(Trial(2, 1), [s_a, s_b, s_c, new("d", 1), new("e", 1)])
            .With(s_a, 2).With(s_b, 1).With(s_c, 3).With(new("d", 1), 1).With(new("e", 1), 1));

    [Fact]
    public void OfTwo_TheOneThatDoesNotReproduceItsClaim_IsWrong()
    {
        Named(s_b, new Case(Trial(1, 2), s_two).With(s_a, 1).With(s_b, 3));
        Named(s_b, new Case(Trial(1, 2), s_two).With(s_a, 1).With(s_b, 1));
        Named(s_a, new Case(Trial(1, 2), s_two).With(s_a, 3).With(s_b, 2));
    }

    [Fact]
    public void OfTwo_TheOneThatGetsNaN_IsWrong()
    {
        Named(s_b, new Case(Trial(1, NaN), s_two).With(s_a, 1).With(s_b, NaN));
        Named(s_a, new Case(Trial(NaN, 1), s_two).With(s_a, NaN).With(s_b, 1));
    }

    [Fact]
    public void OfTwoThatReproduceTheirClaims_NobodyIsNamed()
    {
        TrialVerdict verdict = Assert.IsType<TrialVerdict>(
            new Case(Trial(1, 2), s_two).With(s_a, 1).With(s_b, 2).Judge());
        Assert.Empty(verdict.Wrong);
        Assert.Contains("shard 4 of step 30", verdict.Reason, StringComparison.Ordinal);
        Assert.Contains("a#1 and b#1", verdict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void IfAllChangeTheirClaims_NobodyIsNamed() =>
        Assert.Empty(new Case(Trial(1, 2), s_two).With(s_a, 3).With(s_b, 4).Judge()!.Wrong);

    // With equal states and measures, either all members would wait for the shard's verification, or none.
    [Fact]
    public void AMinorityThatDisputesWhatOthersHaveApplied_IsWrong_AndAllReturn()
    {
        Case one = new Case(Trial(1, 2), s_three).With(s_b, 2);
        one.Trial.RecordPosition(s_a, 31);
        one.Trial.RecordPosition(s_c, 30);
        Assert.Null(one.Judge());
        one.Trial.RecordPosition(s_c, 31);

        TrialVerdict verdict = one.Judge()!;

        Assert.Equal([s_b], verdict.Wrong);
        Assert.True(verdict.MustReturn);
        Assert.Contains("b#1 disputes shard 4 of step 30", verdict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void OfTwo_OneOfWhichHasAppliedTheStep_NoneIsRemoved_AndBothReturn()
    {
        Case one = new Case(Trial(1, 2), s_two).With(s_b, 2);
        one.Trial.RecordPosition(s_a, 31);
        TrialVerdict verdict = one.Judge()!;
        Assert.Empty(verdict.Wrong);
        Assert.True(verdict.MustReturn);
        Assert.False(new Case(Trial(1, 2), s_two).With(s_a, 1).With(s_b, 2).Judge()!.MustReturn);
    }

    [Fact]
    public void ThereIsNoVerdict_BeforeAllHaveAnswered()
    {
        Case one = new Case(Trial(2, 1), s_three).With(s_a, 2).With(s_b, 1);
        Assert.Null(one.Judge());
        Assert.Null(new Case(Trial(2, 1), []).Judge());
    }

    [Fact]
    public void AnswersOfAnotherTrial_AndSecondAnswers_DoNotCount()
    {
        ShardTrial trial = Trial(1, 2);
        trial.Record(s_a, new TrialClaim(trial.Request with { Step = 29 }, Claim(9)));
        trial.Record(s_b, new TrialClaim(trial.Request, Claim(1)));
        Assert.Null(trial.Judge(s_two));
        trial.Record(s_a, new TrialClaim(trial.Request, Claim(1)));
        trial.Record(s_a, new TrialClaim(trial.Request, Claim(2)));
        Named(s_b, trial.Judge(s_two));
    }

    private static ShardTrial Trial(double owner, double verifier) =>
        new(new ShardDispute(2, 30, s_a, Claim(owner), s_b, Claim(verifier)));

    private static ShardClaim Claim(double value) => new(4, value, 1, 1);

    private static void Named(TrainerId wrong, Case one) => Named([wrong], one);

    private static void Named(TrainerId[] wrong, Case one) => Assert.Equal(wrong, one.Judge()!.Wrong);

    private static void Named(TrainerId wrong, TrialVerdict? verdict) => Assert.Equal([wrong], verdict!.Wrong);

    private sealed record Case(ShardTrial Trial, TrainerId[] Members)
    {
        public Case With(TrainerId id, double value)
        {
            Trial.Record(id, new TrialClaim(Trial.Request, Claim(value)));
            return this;
        }

        public TrialVerdict? Judge() => Trial.Judge(Members);
    }
}
