// atelier verify: an intact tree passes, and anything corrupted in it fails its own case and no other.
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Cli.Verify;
using Atelier.Model.Weights;

namespace Atelier.Cli.Tests.Verify;

/// <summary>Corrupts copies of a small part of the reference data.</summary>
public sealed class VerifyTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task SoundTree_Passes()
    {
        string tree = CopyTree();
        _folder.Copy(Reference("checkpoint"), "tree/checkpoint");
        int rows = _folder.Json("tree/checkpoint/table.json").GetProperty("rows").GetArrayLength();
        Assert.True(rows > 50);
        CopyDataSets("tree/mds", "one_sample");
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "verify", tree, "--json", "results.json");
        string[] lines = run.Succeeded().Lines;
        Assert.Equal($"{6 + rows + 1} passed, 0 failed", lines[^1]);
        Assert.Equal(6 + rows + 1, lines.Count(line => line.StartsWith("ok ", StringComparison.Ordinal)));
        Assert.Matches("^ok +dit/e_moe +[0-9]+ +[0-9.e+-]+ +[0-9.e+-]+ +[0-9.]+$", run.Line("ok    dit/e_moe"));
        JsonElement[] results = [.. _folder.Json("results.json").EnumerateArray()];
        Assert.Equal(6 + rows + 1, results.Length);
        Assert.All(results, result => Assert.True(result.GetProperty("passed").GetBoolean()));
        JsonElement network = Assert.Single(
            results, result => result.GetProperty("name").GetString() == "dit/b2_split_multipliers");
        Assert.True(network.GetProperty("error").GetDouble() <= network.GetProperty("tolerance").GetDouble());
        Assert.True(network.GetProperty("compared").GetInt32() > 10);
    }

    [Theory]
    [InlineData("tree/edm/lr_schedule", "lr_schedule")]
    [InlineData("tree/edm", "lr_schedule", "preconditioning")]
    [InlineData("tree/edm/", "lr_schedule", "preconditioning")]
    public async Task OneCase_OrOneTopic_WorksAlone(string folder, params string[] names)
    {
        CopyTree();
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "verify", folder);
        Assert.Equal($"{names.Length} passed, 0 failed", run.Succeeded().Lines[^1]);
        Assert.Equal(names, run.Lines[1..^1].Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]));
    }

    [Fact]
    public async Task CorruptedTensor_FailsItsCaseAlone_AndIsNamed()
    {
        string tree = CopyTree();
        string file = Path.Combine(tree, "dit/e_moe/expected.safetensors");
        var tensors = TinyModel.Read(file);
        BitConverter.GetBytes(1e6f).CopyTo(tensors["out"].Bytes, 0);
        TinyModel.Write(file, tensors.Values);
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "verify", tree, "--json", "results.json");
        Assert.Equal(1, run.ExitCode);
        Assert.Equal("5 passed, 1 failed", run.Lines[^1]);
        string failed = run.Line("FAIL");
        Assert.StartsWith("FAIL  dit/e_moe ", failed);
        Assert.Equal(
            "       out is off by 1e+06; the tolerance is 8e-06", run.Lines[Array.IndexOf(run.Lines, failed) + 1]);
        JsonElement result = Assert.Single(
            _folder.Json("results.json").EnumerateArray(),
            result => !result.GetProperty("passed").GetBoolean());
        JsonElement failure = Assert.Single(result.GetProperty("failures").EnumerateArray());
        Assert.Equal("out is off by 1e+06; the tolerance is 8e-06", failure.GetString());
    }

    [Fact]
    public void CorruptedNaN_Fails()
    {
        string tree = CopyTree(), file = Path.Combine(tree, "dit/e_moe/expected.safetensors");
        var tensors = TinyModel.Read(file);
        BitConverter.GetBytes(float.NaN).CopyTo(tensors["out"].Bytes, 0);
        TinyModel.Write(file, tensors.Values);
        AssertOneFails(tree, "dit/e_moe", "out is off by NaN");
    }

    [Fact]
    public void OtherShape_Fails()
    {
        string tree = CopyTree(), file = Path.Combine(tree, "dit/e_moe/expected.safetensors");
        var tensors = TinyModel.Read(file);
        tensors["out"] = (new TensorInfo("out", ElementType.Float32, [1]), new byte[4]);
        TinyModel.Write(file, tensors.Values);
        AssertOneFails(tree, "dit/e_moe", "out has shape [2, 16, 24], not [1]");
    }

    [Theory]
    [InlineData("float16", null, false)]
    [InlineData("float32", "buffer", false)]
    [InlineData("float32", "parameter", true)]
    [InlineData("float32", null, true)]
    public void TypeAndKindOfAKey_AreChecked_WhereTheyAreGiven(string type, string? kind, bool fits)
    {
        string tree = CopyTree(), file = Path.Combine(tree, "dit/e_moe/case.json");
        JsonNode root = JsonNode.Parse(File.ReadAllText(file))!;
        root["state_dict"]![0]!["dtype"] = type;
        root["state_dict"]![0]!["kind"] = kind;
        if (kind is null)
        {
            root["state_dict"]![0]!.AsObject().Remove("kind");
        }

        File.WriteAllText(file, root.ToJsonString());
        Assert.Equal(fits ? [] : new[] { "dit/e_moe" }, Verifier.Run(tree).Where(r => !r.Passed).Select(r => r.Name));
    }

    [Theory]
    [InlineData("grad/w", 0.001, 0.01, true)]
    [InlineData("grad/w", 0.001, 0.00001, false)]
    [InlineData("grad/w", 0.2, 0.00001, true)]
    [InlineData("w", 0.001, 0.01, false)]
    [InlineData("w", 0.2, 0.00001, true)]
    public void RelativeNorm_CountsForGradientsAlone(string name, double maxAbs, double relative, bool passes)
    {
        _folder.Write("case.json", JsonSerializer.Serialize(new
        {
            tolerance = new Dictionary<string, object> { [name] = new { max_abs = maxAbs, rel_l2 = relative } },
        }));
        using var folder = new CaseFolder(_folder.Path);
        var check = new Comparison(folder);
        check.Numbers(name, [100.1, 0], [100, 0]);
        Assert.Equal(passes, check.Failures.Count == 0);
        bool byNorm = passes && maxAbs < 0.1;
        Assert.Equal(byNorm ? 0.001 : 0.1, check.Worst!.Value.Error, 1e-9);
        Assert.Equal(byNorm ? relative : maxAbs, check.Worst!.Value.Tolerance);
    }

    [Fact]
    public void OneDamagedDataSet_WorksAlone()
    {
        string mds = CopyDataSets();
        CaseResult[] all = [.. Verifier.Run(Path.Combine(mds, "damaged"))];
        CaseResult one = Assert.Single(Verifier.Run(Path.Combine(mds, "damaged/truncated") + "/"));
        Assert.True(one.Passed);
        Assert.Equal(("truncated", "damaged MDS data set"), (one.Name, one.Kind));
        Assert.True(all.Length > 5);
        Assert.All(all, result => Assert.True(result.Passed));
    }

    [Fact]
    public void MissingDataSet_Fails()
    {
        string mds = CopyDataSets();
        Directory.Delete(Path.Combine(mds, "damaged/truncated"), recursive: true);
        Directory.Delete(Path.Combine(mds, "one_sample"), recursive: true);
        CaseResult[] failed = [.. Verifier.Run(mds).Where(result => !result.Passed)];
        Assert.Equal(["damaged/truncated", "one_sample"], failed.Select(result => result.Name));
        Assert.All(failed, result => Assert.Contains("There is no data set ", result.Failures[0]));
    }

    [Fact]
    public void DataSetThatIsRefused_Fails_UnlessItHoldsLists()
    {
        string mds = CopyDataSets(), index = "one_sample/index.json";
        Spoil("str_decimals");
        Assert.Equal("one_sample", Assert.Single(Verifier.Run(mds), result => !result.Passed).Name);
        Spoil("list[str]");
        Assert.DoesNotContain(Verifier.Run(mds), result => !result.Passed);

        void Spoil(string encoding)
        {
            JsonNode root = JsonNode.Parse(File.ReadAllText(Path.Combine(mds, index)))!;
            root["shards"]![0]!["column_encodings"]![0] = encoding;
            File.WriteAllText(Path.Combine(mds, index), root.ToJsonString());
        }
    }

    [Fact]
    public void OtherShapeOfAsManyNumbers_Fails()
    {
        string tree = CopyTree(), file = Path.Combine(tree, "dit/e_moe/expected.safetensors");
        var tensors = TinyModel.Read(file);
        tensors["out"] = (new TensorInfo("out", ElementType.Float32, [2, 24, 16]), tensors["out"].Bytes);
        TinyModel.Write(file, tensors.Values);
        AssertOneFails(tree, "dit/e_moe", "out has shape [2, 16, 24], not [2, 24, 16]");
    }

    [Theory]
    [InlineData("dit/e_moe", "tolerance.forgotten", """{"max_abs": 1}""", "forgotten was not compared")]
    [InlineData("dit/e_moe", "tolerance.out", "null", "its JSON ")]
    [InlineData("dit/e_moe", "tolerance.out.max_abs", "\"small\"", "its JSON has a value of the wrong kind")]
    [InlineData("dit/e_moe", "tolerance", "3", "its JSON ")]
    [InlineData("dit/e_moe", "config.dim", "\"wide\"", "its JSON has a value of the wrong kind")]
    [InlineData("dit/e_moe", "weight_prefix", "\"other/\"", "is off by ")]
    [InlineData("dit/e_moe", "inputs.x.formula_name", "\"another\"", "input x by its formula differs at 0")]
    [InlineData("edm/preconditioning", "rows", "[]", "its JSON ")]
    [InlineData("edm/preconditioning", "rows", "{}", "its JSON ")]
    [InlineData("edm/preconditioning", "rows", "[{\"c_skip\": 1}]", "its JSON lacks the member \"sigma\"")]
    [InlineData("edm/preconditioning", "tolerance", "{}", "its JSON lacks the member \"rel\"")]
    [InlineData("edm/lr_schedule", "cases", "[{\"t_warmup_ba\": 1}]", "its JSON lacks the member ")]
    [InlineData("sampler/analytic", "steps", "0", "Steps must be in 1..1000, not 0.")]
    [InlineData("sampler/analytic", "edm", "{}", "its JSON lacks the member ")]
    [InlineData("sampler/analytic", "mu", "{}", "its JSON has a value of the wrong kind")]
    public void WrongMember_FailsItsCaseAlone(string name, string path, string value, string sentence)
    {
        string tree = CopyTree(), file = Path.Combine(tree, name, "case.json");
        JsonNode root = JsonNode.Parse(File.ReadAllText(file))!;
        string[] steps = path.Split('.');
        steps[..^1].Aggregate(root, (node, step) => node[step]!)[steps[^1]] = JsonNode.Parse(value);
        File.WriteAllText(file, root.ToJsonString());
        AssertOneFails(tree, name, sentence);
    }

    [Theory]
    [InlineData("dit/e_moe/case.json", "{\n\"config\": ", "its JSON is damaged at line 2")]
    [InlineData("dit/e_moe/case.json", "", "its JSON is damaged at line 1")]
    [InlineData("dit/e_moe/case.json", "[]", "case.json is not of a known kind")]
    [InlineData(
        "dit/e_moe/case.json", "{\"what\": \"something new\"}", "case.json is not of a known kind")]
    [InlineData("dit/e_moe/expected.safetensors", "?", "expected.safetensors: ")]
    [InlineData("dit/e_moe/inputs.safetensors", "?", "inputs.safetensors: ")]
    [InlineData("dit/e_moe/expected.safetensors", null, "expected.safetensors: ")]
    [InlineData("sampler/analytic/expected.safetensors", null, "expected.safetensors: ")]
    [InlineData("dit/e_moe/case.json", null, "the folder does not contain a case of a known kind")]
    public void DamagedOrMissingFile_FailsItsCaseAlone(string file, string? text, string sentence)
    {
        string tree = CopyTree();
        File.Delete(Path.Combine(tree, file));
        if (text is not null)
        {
            File.WriteAllText(Path.Combine(tree, file), text);
        }

        AssertOneFails(tree, Path.GetDirectoryName(file)!, sentence);
    }

    [Theory]
    [InlineData("checkpoint/table.json", "{", "checkpoint", "its JSON is damaged at line 1")]
    [InlineData("checkpoint/table.json", "{}", "checkpoint", "its JSON lacks the member \"rows\"")]
    [InlineData("checkpoint/table.json", """{"rows": [{"file": "x.pt", "must": "load"}]}""", "checkpoint/x.pt", "x.pt")]
    [InlineData("mds/set.expected.json", "{", "mds/set", "its JSON is damaged at line 1")]
    [InlineData("mds/set.expected.json", "{}", "mds/set", "")]
    public void WrongList_FailsAlone(string file, string text, string name, string sentence)
    {
        string tree = CopyTree();
        Directory.CreateDirectory(Path.Combine(tree, "checkpoint"));
        Directory.CreateDirectory(Path.Combine(tree, "mds/set"));
        Directory.Delete(Path.Combine(tree, file.StartsWith('m') ? "checkpoint" : "mds"), recursive: true);
        File.WriteAllText(Path.Combine(tree, file), text);
        CaseResult failed = Assert.Single(Verifier.Run(tree), result => !result.Passed);
        Assert.Equal(name, failed.Name);
        Assert.Contains(sentence, failed.Failures[0]);
    }

    [Fact]
    public async Task WithoutAFolder_TheRepositorysCasesAreRun()
    {
        _folder.Copy(Reference("edm/lr_schedule"), "home/tests/reference/edm/lr_schedule");
        Directory.CreateDirectory(_folder["elsewhere"]);
        var environment = new Dictionary<string, string> { [Home.Variable] = _folder["home"] };
        ProgramRun run = await AtelierProgram.RunAsync(_folder["elsewhere"], environment, "verify");
        Assert.Equal("1 passed, 0 failed", run.Succeeded().Lines[^1]);
    }

    [Fact]
    public async Task WithoutTheVocabulary_ItsCaseIsSkipped_AndThePipelineStartsAtTheIds()
    {
        _folder.Copy(Reference("clip/tokenizer"), "tree/clip/tokenizer");
        _folder.Copy(Reference("pipeline/tiny"), "tree/pipeline/tiny");
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "verify", "tree");
        Assert.Equal("1 passed, 0 failed, 1 skipped", run.Succeeded().Lines[^1]);
        Assert.StartsWith("skip  clip/tokenizer ", run.Line("skip"));
        Assert.Contains(
            "the case needs bpe_simple_vocab_16e6.txt.gz, beside it or at the path in ATELIER_VOCABULARY", run.Output);
        Assert.Contains("started from the stored token ids", run.Output);

        _folder.Write("vocabulary.txt.gz", "none");
        var environment = new Dictionary<string, string> { ["ATELIER_VOCABULARY"] = _folder["vocabulary.txt.gz"] };
        run = await AtelierProgram.RunAsync(_folder.Path, environment, "verify", "tree");
        Assert.Equal("0 passed, 2 failed", run.Lines[^1]);
    }

    [Fact]
    public async Task EmptyFolder_Fails()
    {
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "verify", ".");
        Assert.Equal((1, "0 passed, 1 failed"), (run.ExitCode, run.Lines[^1]));
        Assert.Contains("the folder does not contain a case of a known kind", run.Output);
    }

    [Fact]
    public async Task MissingFolder_OrAFile_IsRefused()
    {
        (await AtelierProgram.RunAsync(_folder.Path, "verify", "nowhere")).FailedSaying("There is no folder nowhere.");
        _folder.Write("file", "");
        (await AtelierProgram.RunAsync(_folder.Path, "verify", "file")).FailedSaying(
            "file is a file; give the folder of a case");
    }

    [Fact]
    public async Task JsonThatCannotBeWritten_IsRefusedBeforeTheWork() =>
        (await AtelierProgram.RunAsync(_folder.Path, "verify", CopyTree(), "--json", "nowhere/r.json"))
            .FailedSaying("--json is \"nowhere/r.json\", but there is no folder");

    private static string Reference(string name, [CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../reference", name));

    // In this process: the message of a failing case does not depend on how the program was started.
    private static void AssertOneFails(string tree, string name, string sentence)
    {
        CaseResult[] results = [.. Verifier.Run(tree)];
        CaseResult failed = Assert.Single(results, result => !result.Passed);
        Assert.Equal(6, results.Length);
        Assert.Equal(name, failed.Name);
        Assert.Contains(failed.Failures, failure => failure.Contains(sentence, StringComparison.Ordinal));
    }

    // Small data sets.
    private string CopyDataSets(string to = "mds", params ReadOnlySpan<string> names)
    {
        foreach (string name in names.Length > 0 ? names : ["damaged", "one_sample"])
        {
            _folder.Copy(Reference($"mds/{name}"), $"{to}/{name}");
            File.Copy(Reference($"mds/{name}.expected.json"), _folder[$"{to}/{name}.expected.json"]);
        }

        return _folder[to];
    }

    // Six cases that are small enough to be copied and corrupted many times.
    private string CopyTree()
    {
        foreach (string name in (string[])
            [
                "dit/b2_split_multipliers", "dit/e_moe", "dit/f_layernorm", "edm/lr_schedule", "edm/preconditioning",
                "sampler/analytic",
            ])
        {
            _folder.Copy(Reference(name), $"tree/{name}");
        }

        return _folder["tree"];
    }
}
