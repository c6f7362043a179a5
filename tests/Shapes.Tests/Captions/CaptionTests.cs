// Goal: captions are true, and say exactly what they claim to say. Method: a reader of captions that knows the words
// but not how sentences were made reads thousands of them back.
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;
using Xunit;

namespace Atelier.Shapes.Tests.Captions;

public sealed class CaptionTests
{
    private static readonly SceneTask[] s_tasks = Enum.GetValues<SceneTask>();

    [Fact]
    public void Caption_IsTrueToItsScene_AndSaysWhatItClaims()
    {
        foreach ((Scene scene, Caption caption) in Captions(4000))
        {
            Reading read = CaptionReader.Read(caption.Text, caption.Says);
            Assert.Equal(Texts(caption.Says.Things), Texts(read.Things));
            Assert.Equal(caption.Says.Relation is null, read.Relation is null);
            foreach (ExpectedThings things in read.Things)
            {
                Thing[] same =
                    [.. scene.Things.Where(t => t.Kind == things.Kind && (things.Color ?? t.Color) == t.Color)];
                Assert.Equal(things.Count, same.Length);
                Assert.All(same, thing => Assert.Equal(things.Size ?? thing.Size, thing.Size));
            }

            Assert.Equal(scene.Things.Count, read.Things.Sum(things => things.Count));
            Assert.Equal(scene.Background, caption.Says.Background ?? scene.Background);
            Assert.Equal(scene.Style, caption.Says.Style ?? scene.Style);
            if (read.Relation is { } relation)
            {
                Thing subject = scene.Things.Single(thing => thing.Kind == relation.Subject);
                Thing other = scene.Things.Single(thing => thing.Kind == relation.Object);
                Assert.True(
                    Placement.Holds(relation.Relation, Placement.Of(subject), Placement.Of(other)), caption.Text);
                ExpectedRelation said = caption.Says.Relation!;
                Assert.True(relation == said || relation == Converse(said), caption.Text);
            }
        }
    }

    [Fact]
    public void EndsOfNouns_AreWhereTheNounsEnd()
    {
        foreach ((_, Caption caption) in Captions(4000))
        {
            Assert.Equal(caption.Says.Things.Count, caption.NounEnds.Count);
            Assert.Equal(caption.NounEnds.Count, caption.NounEnds.Distinct().Count());
            foreach ((ExpectedThings things, int end) in caption.Says.Things.Zip(caption.NounEnds))
            {
                string before = caption.Text[..end].ToLowerInvariant();
                Assert.Contains(
                    Wording.Nouns(things.Kind), noun => before.EndsWith(
                        things.Count == 1 ? noun.One : noun.Many, StringComparison.Ordinal));
                Assert.True(end == caption.Text.Length || !char.IsLetter(caption.Text[end]), caption.Text);
            }
        }
    }

    [Fact]
    public void Captions_ArePlainEnglishOfSomeHundredWords()
    {
        var words = new HashSet<string>(StringComparer.Ordinal);
        foreach ((_, Caption caption) in Captions(4000))
        {
            Assert.InRange(caption.Text.Length, "box".Length, Captioner.LengthMax);
            Assert.DoesNotContain("  ", caption.Text, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", caption.Text);
            words.UnionWith(caption.Text.ToLowerInvariant()
                .Split([' ', ',', '.', ':'], StringSplitOptions.RemoveEmptyEntries));
        }

        Assert.InRange(words.Count, 130, 400);
    }

    [Fact]
    public void WhatACaptionDoesNotSay_IsMostlyTheOrdinary()
    {
        (Scene Scene, Expectation Says)[] all = [.. Captions(4000).Select(one => (one.Scene, one.Caption.Says))];
        Scene[] noStyle = [.. all.Where(one => one.Says.Style is null).Select(one => one.Scene)];
        Scene[] noPlace = [.. all.Where(one => one.Says.Background is null).Select(one => one.Scene)];
        Assert.InRange(
            noStyle.Count(scene => scene.Style == ArtStyle.Flat), (int)(0.8 * noStyle.Length), noStyle.Length - 1);
        Assert.InRange(
            noPlace.Count(scene => scene.Background == Background.Plain), (int)(0.8 * noPlace.Length),
            noPlace.Length - 1);
        Scene[] noColor = [.. all.Where(one => one.Says.Things.All(t => t.Color is null)).Select(one => one.Scene)];
        Assert.InRange(
            noColor.Count(scene => Usual.HasColors(scene.Things)), (int)(0.8 * noColor.Length), noColor.Length - 1);
        Assert.Contains(
            all, one => Usual.HasColors(one.Scene.Things) && one.Says.Things.All(t => t.Color is not null));
        Assert.Contains(all, one => one.Says.Style == ArtStyle.Flat);
        Assert.Contains(all, one => one.Says.Background == Background.Plain);
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
                Assert.Equal(
                    prompts.Select(p => p.Caption.Text),
                    EvaluationPrompts.Draw(1, task, heldOut, 100).Select(p => p.Caption.Text));
                Assert.All(prompts, prompt =>
                {
                    Expectation says = prompt.Caption.Says;
                    Assert.True(says.Background is not null || prompt.Scene.Background == Background.Plain);
                    Assert.True(says.Style is not null || prompt.Scene.Style == ArtStyle.Flat);
                    Assert.True(
                        says.Things.All(things => things.Color is not null) || Usual.HasColors(prompt.Scene.Things)
                        || says.Relation?.Relation == Relation.Inside);
                    Assert.Equal(heldOut ? SceneSampler.SortOf(task) : Combinations.None, HeldOut.In(prompt.Scene));
                    Assert.Equal(task == SceneTask.Position, says.Relation is not null);
                    Assert.Equal(task == SceneTask.Style, says.Style is not null);
                    Assert.True(task != SceneTask.Background || says.Background is not null);
                    Assert.True(task != SceneTask.Single || !heldOut || says.Background is not null);
                    bool needsColors = task is SceneTask.Color or SceneTask.Attribution;
                    Assert.True(!needsColors || says.Things.All(things => things.Color is not null));
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

    private static IEnumerable<string> Texts(IEnumerable<ExpectedThings> things) =>
        things.Select(group => group.ToString()).Order(StringComparer.Ordinal);

    private static ExpectedRelation? Converse(ExpectedRelation said) =>
        Placement.Converse(said.Relation) is { } converse
        ? new ExpectedRelation(converse, said.Object, said.Subject)
        : null;
}
