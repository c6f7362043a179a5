// Goal: the prompts that a newcomer is shown are drawn as asked. Method: the prompts that `up` prints, that the page
// suggests and that the README starts with, read from these files: all belong to the world of the training set, and
// what `up` prints and the page suggests is drawn and judged.
using System.Text.RegularExpressions;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Judging;
using Atelier.Shapes.Scenes;
using Atelier.Shapes.Tests.Captions;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Evaluating;

public sealed class FirstPromptsTests
{
    private const int Captions = 20_000;

    public static TheoryData<string> Prompts => [.. s_prompts.Distinct()];

    // Declared before the prompts, which include them.
    private static readonly string[] s_suggestions =
    [
        .. Find("src/Gateway/wwwroot/app.js", @"EXAMPLES = \[([^\]]+)\]").SelectMany(list => Match(list, "'([^']+)'")),
    ];

    private static readonly string[] s_prompts =
    [
        .. Find("src/Cli/Commands/UpCommand.cs", "Prompt = \"([^\"]+)\""),
        .. s_suggestions,
        .. Find("src/Gateway/wwwroot/index.html", "id=\"prompt\"[^>]* placeholder=\"([^\"]+)\""),
        .. Find("README.md", "\"prompt\": \"([^\"]+)\""),
        .. Find("README.md", "generate \"([^\"]+)\"(?![^\n]*--model)"),
    ];

    [Fact]
    public void Prompts_AreFoundInTheirFiles() => Assert.InRange(s_prompts.Length, 11, 20);

    [Theory]
    [MemberData(nameof(Prompts))]
    public void Prompt_IsOfTheWorldThatTrainingKnew(string prompt)
    {
        // The words of "blue background" were known to training, but never occurred in this order.
        Assert.Empty(Pairs(prompt).Except(s_pairs.Value));
        Expectation says = Read(prompt);
        Assert.NotEmpty(says.Things);
        Assert.All(says.Things, things =>
        {
            Assert.InRange(things.Count, 1, Scene.ThingsMax);
            Assert.False(HeldOut.Contains(things.Kind, things.Count), "the number");
            Assert.False(things.Color is { } color && HeldOut.Contains(things.Kind, color), "the colour");
            Assert.False(says.Background is { } place && HeldOut.Contains(things.Kind, place), "the background");
            Assert.False(says.Style is { } style && HeldOut.Contains(things.Kind, style), "the style");
            Assert.All(says.Things, other => Assert.False(HeldOut.Contains(things.Kind, other.Kind), "the pair"));
        });
        Assert.False(
            says.Relation is { } relation && HeldOut.Contains(relation.Relation, relation.Subject, relation.Object),
            "the relation");
    }

    [Fact]
    public void FirstPrompts_GiveTheRequestedPictures()
    {
        torch.set_num_threads(1);
        ModelFolder model = ModelFolder.Open(Repository.At("models/shapes"));
        using TextToImage pipeline = TextToImage.Load(model);
        using Oracle oracle = Oracle.Load(Repository.At("models/oracle/oracle.safetensors"));
        Assert.Equal(2, Right(s_prompts[0], seeds: 2));
        Assert.Equal(6, s_suggestions.Length);
        Assert.All(s_suggestions, prompt => Assert.InRange(Right(prompt, seeds: 3), 2, 3));

        int Right(string prompt, int seeds)
        {
            RgbImage[] pictures =
            [
                .. pipeline.Generate(
                [
                    .. Enumerable.Range(0, seeds).Select(seed => new GenerationRequest
                    {
                        Prompt = prompt, Seed = (ulong)seed, Size = model.Resolution,
                        Sampler = new SamplerSettings { Steps = model.Steps, Guidance = model.Guidance },
                    }.Checked(model.Resolution)),
                ], cancellation: TestContext.Current.CancellationToken),
            ];
            return oracle.Look(pictures).Count(seen => Judge.Check(Read(prompt), seen).All);
        }
    }

    private static readonly Lazy<HashSet<string>> s_pairs = new(() =>
    {
        var sampler = new SceneSampler(seed: 1);
        return [.. Enumerable.Range(0, Captions).SelectMany(i => Pairs(Captioner.Write(sampler.Draw(i), 1, i).Text))];
    });

    private static Expectation Read(string prompt)
    {
        var aside = new Expectation(
            [], null, Said<Background>(prompt, Wording.Places),
            Said<ArtStyle>(prompt, style => [.. Wording.StyleLeads(style), .. Wording.StyleEnds(style)]));
        Reading reading = CaptionReader.Read(prompt, aside);
        return aside with { Things = reading.Things, Relation = reading.Relation };
    }

    private static T? Said<T>(string prompt, Func<T, string[]> phrases)
        where T : struct, Enum =>
        Enum.GetValues<T>()
            .Where(value => phrases(value).Any(phrase => $" {prompt}".Contains($" {phrase}", StringComparison.Ordinal)))
            .Select(value => (T?)value).FirstOrDefault();

    // All pairs of consecutive words.
    private static IEnumerable<string> Pairs(string text)
    {
        string[] words = text.ToLowerInvariant().Split([' ', ',', '.'], StringSplitOptions.RemoveEmptyEntries);
        return words.Zip(words.Skip(1), (one, next) => $"{one} {next}");
    }

    private static IEnumerable<string> Find(string file, string pattern) =>
        Match(File.ReadAllText(Repository.At(file)), pattern);

    private static IEnumerable<string> Match(string text, string pattern) =>
        Regex.Matches(text, pattern, RegexOptions.None, TimeSpan.FromSeconds(5)).Select(match => match.Groups[1].Value);
}
