// The part about README's walk: from scenes to a model that draws, on a cluster whose silos die meanwhile.
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Atelier.Model.Imaging;

namespace Atelier.Cli.Tests.Cluster;

public sealed partial class UpTests
{
    private static string Repository => Path.GetFullPath(
        Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "..", ".."));

    // The lines as README has them, with fewer scenes and steps.
    [Fact]
    public async Task ReadmesWalk_TrainsAModelThatDraws_AlthoughASiloDies()
    {
        string[][] lines = Walk();
        Assert.Equal(
            ["up", "data", "runs submit", "runs watch", "runs publish", "generate"],
            lines.Select(line => line[0] == "runs" ? $"runs {line[1]}" : line[0]));
        Directory.CreateSymbolicLink(_folder["models"], Path.Combine(Repository, "models"));
        Directory.CreateSymbolicLink(_folder["configs"], Path.Combine(Repository, "configs"));
        var environment = new Dictionary<string, string> { ["XDG_DATA_HOME"] = _folder["home"] };
        using var up = new Running(AtelierProgram.Start(
            _folder.Path, environment, [.. lines[0], "--model", "models/shapes", "--threads", "1"]));
        string welcome = await WelcomeAsync(up.Process);
        string url = Find(welcome, UrlPattern()), key = Find(welcome, KeyPattern());

        await AtelierAsync([.. lines[1].Select(word => word == "2000" ? "200" : word)]);
        await AtelierAsync(
            [
                .. lines[2], "trainer.max_duration=12ba", "trainer.save_interval=4ba", "panel.interval=8ba",
                "dataset.train_batch_size=16",
            ]);
        int silo = Children(up.Process.Id).First(child =>
            File.ReadAllText($"/proc/{child}/cmdline").Contains("Silo", StringComparison.Ordinal));
        await UntilAsync(run => run["stages"]![0]!["step"]!.GetValue<int>() >= 3);
        Signals.Send(silo, Signals.Kill);
        string watched = await AtelierAsync(lines[3]);
        Assert.Contains("demo: done", watched, StringComparison.Ordinal);
        string published = await AtelierAsync(lines[4]);
        Assert.Matches("mine: run demo, stage 0, step 12, digest [0-9a-f]{16}", published);

        // A silo fetches the model within seconds.
        string[] draw = [.. lines[5].Select(word => word.StartsWith("http", StringComparison.Ordinal) ? url
            : word == "$KEY" ? key : word)];
        ProgramRun drawn = await AtelierProgram.RunAsync(_folder.Path, environment, draw);
        for (int tries = 0; tries < 60 && drawn.Error.Contains("There is no model", StringComparison.Ordinal); tries++)
        {
            await Task.Delay(500, Cancellation);
            drawn = await AtelierProgram.RunAsync(_folder.Path, environment, draw);
        }

        drawn.Succeeded();
        RgbImage picture = ImageCodec.Decode(await File.ReadAllBytesAsync(_folder["mine.png"], Cancellation));
        Assert.Equal((64, 64), (picture.Width, picture.Height));
        JsonNode[] panels = [];
        await UntilAsync(run => (panels = [.. run["stages"]![0]!["panels"]!.AsArray().OfType<JsonNode>()])
            .Any(panel => panel["step"]!.GetValue<int>() == 12));

        // The scores of pictures that show what the prompts say.
        Assert.All(panels, panel => Assert.InRange(panel["score"]!.GetValue<double>(), 60, 90));

        async Task<string> AtelierAsync(string[] words) =>
            (await AtelierProgram.RunAsync(_folder.Path, environment, words)).Succeeded().Output;

        async Task UntilAsync(Func<JsonNode, bool> condition)
        {
            while (true)
            {
                File.Delete(_folder["run.json"]);
                await AtelierAsync(["runs", "show", "demo", "--json", "run.json"]);
                if (condition(JsonNode.Parse(await File.ReadAllTextAsync(_folder["run.json"], Cancellation))!))
                {
                    return;
                }

                await Task.Delay(500, Cancellation);
            }
        }
    }

    // The commands of README's walk, as words; a quoted text is a word.
    private static string[][] Walk()
    {
        string readme = File.ReadAllText(Path.Combine(Repository, "README.md"));
        string section = readme[readme.IndexOf("## Train a model", StringComparison.Ordinal)..];
        string block = section.Split("```")[1];
        return
        [
            .. block.Split('\n').Where(line => line.StartsWith("./atelier ", StringComparison.Ordinal))
                .Select(line => Word().Matches(line.Split(" # ")[0]["./atelier ".Length..])
                    .Select(word => word.Value.Trim('"')).ToArray()),
        ];
    }

    [GeneratedRegex("\"[^\"]*\"|[^ ]+", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Word();
}
