// Goal: captions are true, and say exactly what they claim to say. Method: a reader of captions that knows the words but
// nothing of how sentences were made reads thousands of them back.
using Atelier.Shapes.Captions;
using Xunit;

namespace Atelier.Shapes.Tests;

public sealed class CaptionTests
{
    private static readonly SceneTask[] s_tasks = Enum.GetValues<SceneTask>();

    [Fact]
    public void Caption_IsTrueToItsScene_AndSaysWhatItClaims()
    {
        foreach ((Scene scene, Caption caption) in Captions(4000))
        {
            Reading read = CaptionReader.Read(caption.Text, caption.Says);
            Assert.Equal(
                caption.Says.Things.Select(Text).Order(StringComparer.Ordinal), read.Things.Select(Text).Order(StringComparer.Ordinal));
            Assert.Equal(caption.Says.Relation is null, read.Relation is null);
            foreach (ExpectedThings things in read.Things)
            {
                Thing[] same = [.. scene.Things.Where(t => t.Kind == things.Kind && (things.Colour ?? t.Colour) == t.Colour)];
                Assert.Equal(things.Count, same.Length);
                Assert.All(same, thing => Assert.Equal(things.Size ?? thing.Size, thing.Size));
            }

            Assert.Equal(scene.Things.Count, read.Things.Sum(things => things.Count));
            Assert.Equal(scene.Background, caption.Says.Background ?? scene.Background);
            Assert.Equal(scene.Style, caption.Says.Style ?? scene.Style);
            if (read.Relation is { } relation)
            {
                Thing subject = scene.Things.Single(t => t.Kind == relation.Subject), other = scene.Things.Single(t => t.Kind == relation.Object);
                Assert.True(Placement.Holds(relation.Relation, Placement.Of(subject), Placement.Of(other)), caption.Text);
                Assert.True(
                    relation == caption.Says.Relation
                    || (relation.Relation, relation.Object, relation.Subject) == (Placement.Converse(caption.Says.Relation!.Relation), caption.Says.Relation.Subject, caption.Says.Relation.Object),
                    caption.Text);
            }
        }
    }

    [Fact]
    public void Captions_ArePlainEnglishOfSomeHundredWords()
    {
        var words = new HashSet<string>(StringComparer.Ordinal);
        foreach ((_, Caption caption) in Captions(4000))
        {
            Assert.InRange(caption.Text.Length, 4, Captioner.LengthMax);
            Assert.DoesNotContain("  ", caption.Text, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", caption.Text);
            words.UnionWith(caption.Text.ToLowerInvariant().Split([' ', ',', '.', ':'], StringSplitOptions.RemoveEmptyEntries));
        }

        Assert.InRange(words.Count, 130, 400);
    }

    [Fact]
    public void SameSeedAndIndex_GiveTheSameCaption_AndOthersVary()
    {
        Scene scene = new SceneSampler(1).Draw(3, SceneTask.Position, Split.Seen);
        string[] captions = [.. Enumerable.Range(0, 200).Select(i => Captioner.Write(scene, 9, i).Text)];
        Assert.Equal(captions, Enumerable.Range(0, 200).Select(i => Captioner.Write(scene, 9, i).Text));
        Assert.InRange(captions.Distinct(StringComparer.Ordinal).Count(), 150, 200);
    }

    [Fact]
    public void EvaluationPrompt_AsksForWhatItsTaskIsAbout()
    {
        foreach (SceneTask task in EvaluationPrompts.Tasks)
        {
            foreach (bool heldOut in new[] { false, true })
            {
                EvaluationPrompt[] prompts = [.. EvaluationPrompts.Draw(1, task, heldOut, 100)];
                Assert.Equal(prompts.Select(p => p.Caption.Text), EvaluationPrompts.Draw(1, task, heldOut, 100).Select(p => p.Caption.Text));
                Assert.All(prompts, prompt =>
                {
                    Expectation says = prompt.Caption.Says;
                    Assert.Equal(heldOut ? SceneSampler.SortOf(task) : Combinations.None, HeldOut.In(prompt.Scene));
                    Assert.Equal(task == SceneTask.Position, says.Relation is not null);
                    Assert.Equal(task == SceneTask.Style, says.Style is not null);
                    Assert.True(task != SceneTask.Background || says.Background is not null);
                    Assert.True(task != SceneTask.Single || !heldOut || says.Background is not null);
                    Assert.True(task is not (SceneTask.Colour or SceneTask.Attribution) || says.Things.All(t => t.Colour is not null));
                    Assert.True(task != SceneTask.Counting || says.Things.Count == 1);
                });
            }
        }
    }

    [Fact]
    public void EvaluationScenes_AreNotTrainings()
    {
        Scene first = new SceneSampler(1).Draw(0, SceneTask.Single, Split.Seen);
        Scene asked = EvaluationPrompts.Draw(1, SceneTask.Single, false, 1).Single().Scene;
        Assert.NotEqual((first.Detail, first.Things[0]), (asked.Detail, asked.Things[0]));
    }

    private static IEnumerable<(Scene Scene, Caption Caption)> Captions(int count)
    {
        var sampler = new SceneSampler(11);
        return Enumerable.Range(0, count).Select(i =>
        {
            Scene scene = sampler.Draw(i, s_tasks[i % s_tasks.Length], Split.Any);
            return (scene, Captioner.Write(scene, 12, i));
        });
    }

    private static string Text(ExpectedThings things) => things.ToString();
}
