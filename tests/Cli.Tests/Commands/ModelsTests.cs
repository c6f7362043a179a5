// atelier models: published files become a model folder, completely or not at all, and everything wrong with them is
// reported.
using System.Runtime.InteropServices;
using System.Text.Json;
using Atelier.Model;
using Atelier.Model.Pipeline;
using Atelier.Model.Weights;

namespace Atelier.Cli.Tests.Commands;

/// <summary>Runs the program on files of toy size.</summary>
public sealed class ModelsTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Import_PrintsWhatItTook_AndWritesAModel()
    {
        string[] lines = model.Import.Lines;
        Assert.Equal(4, lines.Length);
        Assert.Matches("^part +taken from +network +tensors +parameters +type +left out$", lines[0]);
        Assert.Equal(["denoiser", "autoencoder", "text_encoder"], lines[1..].Select(line => line.Split(' ')[0]));
        Assert.Equal(
            [
                "autoencoder.safetensors", "denoiser.safetensors", "model.json", "text_encoder.safetensors",
                "vocabulary.txt.gz",
            ],
            Directory.GetFiles(model.Folder).Select(file => Path.GetFileName(file)).Order());
        ModelFolder folder = ModelFolder.Open(model.Folder);
        Assert.Equal(("tiny", "none", "a formula"), (folder.Name, folder.Licence, folder.Source));
        Assert.Equal((3, 2.0), (folder.Steps, folder.Guidance));
        Assert.Empty(folder.DifferingFiles());
        Assert.DoesNotContain("visual.proj", TinyModel.Read(folder.PathOf(folder.TextEncoder)).Keys);
        Assert.Contains(
            "encoder.mid_block.attentions.0.to_q.weight", TinyModel.Read(folder.PathOf(folder.Autoencoder)).Keys);
    }

    [Fact]
    public async Task Import_OfATrainersCheckpoint_IsTheSameModel()
    {
        string published = Copy();
        TorchFile.Write(
            Path.Combine(published, "composer.pt"), ["state", "model"],
            TinyModel.Read(Path.Combine(published, "dit.safetensors")).Values
                .Select(
                    tensor => (
                        new TensorInfo("dit." + tensor.Info.Name, tensor.Info.Type, tensor.Info.Shape), tensor.Bytes)));
        string[] command = TinyModel.ImportArguments(published, "tiny");
        command[Array.IndexOf(command, "--denoiser") + 1] = Path.Combine(published, "composer.pt");
        (await AtelierProgram.RunAsync(_folder.Path, command)).Succeeded();
        Assert.Equal(ModelFolder.Open(model.Folder).Digest, ModelFolder.Open(_folder["tiny"]).Digest);
    }

    [Fact]
    public async Task Import_RemovesThePrefixesOfWrappers_AndUnpacksEveryPart()
    {
        string published = Copy();
        Change(published, "dit.safetensors", tensors => Rename(tensors, "_orig_mod.module."));
        Change(published, "vae/diffusion_pytorch_model.safetensors", tensors => Rename(tensors, "module."));
        TorchFile.Write(
            Path.Combine(published, "clip.pt"), ["state_dict"],
            TinyModel.Read(Path.Combine(published, "open_clip.safetensors")).Values.Select(tensor => (
                new TensorInfo("module." + tensor.Info.Name, tensor.Info.Type, tensor.Info.Shape), tensor.Bytes)));
        string[] command = TinyModel.ImportArguments(published, "tiny");
        command[Array.IndexOf(command, "--clip") + 1] = Path.Combine(published, "clip.pt");
        (await AtelierProgram.RunAsync(_folder.Path, command)).Succeeded();
        Assert.Equal(ModelFolder.Open(model.Folder).Digest, ModelFolder.Open(_folder["tiny"]).Digest);

        static void Rename(Dictionary<string, (TensorInfo Info, byte[] Bytes)> tensors, string prefix)
        {
            foreach ((TensorInfo info, byte[] bytes) in tensors.Values.ToArray())
            {
                tensors.Remove(info.Name);
                tensors[prefix + info.Name] = (new TensorInfo(prefix + info.Name, info.Type, info.Shape), bytes);
            }
        }
    }

    [Fact]
    public async Task Import_OfNamesThatAllDiffer_SaysSoInALine()
    {
        string published = Copy();
        Change(published, "dit.safetensors", tensors =>
        {
            foreach ((TensorInfo info, byte[] bytes) in tensors.Values.ToArray())
            {
                tensors.Remove(info.Name);
                tensors["other." + info.Name] = (new TensorInfo("other." + info.Name, info.Type, info.Shape), bytes);
            }
        });
        ProgramRun run = await ImportAsync(published);
        run.FailedSaying(
            "tensors do not match the model: unexpected other.", " more unexpected; missing ", " more missing");
        Assert.InRange(run.Error.Length, 100, 1500);
    }

    [Fact]
    public async Task Import_KeepsEachTensorsType_AndTakesAttentionStoredAsConvolutions()
    {
        const string file =
            "vae/diffusion_pytorch_model.safetensors", query = "encoder.mid_block.attentions.0.query.weight";
        string published = Copy();
        Change(published, file, tensors =>
        {
            foreach ((TensorInfo info, byte[] bytes) in tensors.Values.ToArray())
            {
                bool isMatrix = info.Name.Contains(".attentions.", StringComparison.Ordinal) && info.Shape.Length == 2;
                tensors[info.Name] = (
                    new TensorInfo(info.Name, info.Type, isMatrix ? [.. info.Shape, 1, 1] : info.Shape), bytes);
            }

            (TensorInfo old, byte[] numbers) = tensors[query];
            Assert.Equal(4, old.Shape.Length);
            byte[] halves =
                [.. MemoryMarshal.Cast<byte, float>(numbers).ToArray().SelectMany(n => BitConverter.GetBytes((Half)n))];
            tensors[query] = (new TensorInfo(query, ElementType.Float16, old.Shape), halves);
        });
        ProgramRun run = await ImportAsync(published);
        Assert.Matches("^autoencoder .* F16, F32 +0$", run.Succeeded().Line("autoencoder"));
        var tensors = TinyModel.Read(_folder["new/autoencoder.safetensors"]);
        var expected = TinyModel.Read(Path.Combine(model.Folder, "autoencoder.safetensors"));
        Assert.Equal(
            ["encoder.mid_block.attentions.0.to_q.weight"],
            tensors.Values.Where(tensor => tensor.Info.Type == ElementType.Float16).Select(tensor => tensor.Info.Name));
        Assert.All(
            expected.Values.Where(tensor => tensors[tensor.Info.Name].Info.Type == ElementType.Float32),
            tensor => Assert.Equal(tensor.Bytes, tensors[tensor.Info.Name].Bytes));
        Assert.All(expected.Values, tensor => Assert.Equal(tensor.Info.Shape, tensors[tensor.Info.Name].Info.Shape));
    }

    [Fact]
    public async Task Import_PrintsTheSameAsJson_AndNamesTheModelAsAsked()
    {
        ProgramRun run = await ImportAsync(Copy(), "--name", "My model", "--json", "import.json");
        run.Succeeded();
        Assert.Equal("My model", ModelFolder.Open(_folder["new"]).Name);
        JsonElement[] parts = [.. _folder.Json("import.json").EnumerateArray()];
        Assert.Equal(
            ["denoiser", "autoencoder", "text_encoder"], parts.Select(part => part.GetProperty("part").GetString()));
        Assert.All(parts, part => Assert.True(part.GetProperty("parameters").GetInt64() > 1000));
        Assert.True(parts[2].GetProperty("leftOut").GetInt32() > 0);
    }

    [Fact]
    public async Task Import_OfNamesAndShapesThatDiffer_ListsAllOfThem()
    {
        await RefuseAsync(
            published => Change(published, "dit.safetensors", tensors =>
            {
                tensors.Remove("blocks.0.attn.qkv.weight");
                (TensorInfo info, byte[] bytes) = tensors["blocks.1.attn.proj.weight"];
                tensors["blocks.1.attn.proj.weight"] = (
                    new TensorInfo(info.Name, info.Type, [info.ElementCount]), bytes);
                tensors["extra"] = (new TensorInfo("extra", ElementType.Float32, [1]), new byte[4]);
            }),
            "dit.safetensors: state dict: 3 tensors do not match the model", "missing blocks.0.attn.qkv.weight",
            "blocks.1.attn.proj.weight is ", "unexpected extra");
    }

    [Theory]
    [InlineData("dit.safetensors", "t_embedder.mlp.0.weight")]
    [InlineData("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.weight")]
    [InlineData("open_clip.safetensors", "ln_final.weight")]
    public async Task Import_OfNonFiniteNumbers_IsRefused(string file, string tensor) => await RefuseAsync(
        published =>
            Change(published, file, tensors => BitConverter.GetBytes(float.NaN).CopyTo(tensors[tensor].Bytes, 4)),
        file, tensor, "holds a NaN or an infinity");

    [Theory]
    [InlineData("dit.safetensors", "blocks.0.", "dit.safetensors: denoiser: produces ")]
    [InlineData("vae/diffusion_pytorch_model.safetensors", "decoder.", "_model.safetensors: decoder: produces ")]
    [InlineData(
        "vae/diffusion_pytorch_model.safetensors", "encoder.", "_model.safetensors: autoencoder's encoder: produces ")]
    [InlineData("open_clip.safetensors", "transformer.", "open_clip.safetensors: text encoder: produces ")]
    public async Task Import_OfFiniteWeightsThatOverflowInUse_IsRefused(string file, string tensors, string sentence) =>
        await RefuseAsync(
            published => TinyModel.FillFile(Path.Combine(published, file), tensors, 1e30f),
            sentence, ": its weights are finite, but too large to compute with.");

    [Fact]
    public async Task Import_OfTheWrongFile_IsRefused()
    {
        await RefuseAsync(
            published =>
                File.Copy($"{published}/open_clip.safetensors", $"{published}/dit.safetensors", overwrite: true),
            "dit.safetensors: state dict: ", "; missing blocks.0.", "unexpected ");
        await RefuseTextAsync("dit.safetensors", "<html>", "dit.safetensors: start: is not safetensors, ");
        await RefuseTextAsync("vocabulary.txt.gz", "words", "vocabulary.txt.gz: ");
        await RefuseAsync(
            published => TinyModel.WriteVocabulary(Path.Combine(published, "vocabulary.txt.gz"), "r e"),
            "vocabulary.txt.gz: merges: yield 515 tokens, but the text encoder has 518.");
        await RefuseTextAsync("open_clip_config.json", "{", "open_clip_config.json: line 1: not JSON");
        await RefuseTextAsync(
            "dit.json", """{"dim": "wide"}""", "dit.json: configuration: \"dim\" cannot be \"wide\".");
        await RefuseTextAsync("dit.json", "[]", "dit.json: configuration: ");
        await RefuseTextAsync("vae/config.json", """{"act_fn": "relu"}""", "config.json: act_fn: ");

        Task RefuseTextAsync(string file, string text, string sentence) =>
            RefuseAsync(published => File.WriteAllText(Path.Combine(published, file), text), sentence);
    }

    [Theory]
    [InlineData("dit.safetensors", "--denoiser is \"", "dit.safetensors\", but there is no such file.")]
    [InlineData("dit.json", "--denoiser-config is \"", "dit.json\", but there is no such file.")]
    [InlineData("open_clip.safetensors", "--clip is \"", "but there is no such file.")]
    [InlineData("open_clip_config.json", "--clip-config is \"", "but there is no such file.")]
    [InlineData("vocabulary.txt.gz", "--vocabulary is \"", "but there is no such file.")]
    [InlineData(
        "vae/diffusion_pytorch_model.safetensors",
        "vae does not contain any of diffusion_pytorch_model.safetensors, ")]
    [InlineData("vae/config.json", "config.json")]
    public async Task Import_WithoutAFile_NamesIt(string file, params string[] parts) =>
        await RefuseAsync(published => File.Delete(Path.Combine(published, file)), parts);

    [Fact]
    public async Task Import_WithoutConfiguration_OfAnUnknownNetwork_AsksForIt()
    {
        List<string> command = [.. TinyModel.ImportArguments(model.Published, "new")];
        command.RemoveRange(command.IndexOf("--denoiser-config"), 2);
        (await AtelierProgram.RunAsync(_folder.Path, command)).FailedSaying(
            "dit.safetensors: state dict: does not match a published preset; give its configuration with "
            + "--denoiser-config.");
        Assert.Empty(_folder.Content);
    }

    [Fact]
    public async Task Import_OverwritesNothing()
    {
        _folder.Copy(model.Folder, "new");
        string[] before = _folder.Content;
        (await ImportAsync(model.Published)).FailedSaying(
            "new already holds a model; use another folder, or remove this one.");
        File.Delete(_folder["new/model.json"]);
        (await ImportAsync(model.Published)).FailedSaying("new already holds files");
        Assert.Equal(before.Where(file => file != "new/model.json"), _folder.Content);
    }

    // No URL could name them; in a folder that was edited, too.
    [Theory]
    [InlineData("..")]
    [InlineData("a/./b")]
    [InlineData("../admin")]
    public async Task Names_WithDotsBetweenSlashes_AreRefused(string name)
    {
        const string advice = "but a part between slashes must not be \".\" or \"..\", which no URL can have.";
        (await ImportAsync(model.Published, "--name", name)).FailedSaying($"--name is \"{name}\", {advice}");
        Assert.Empty(_folder.Content);
        string manifest = Path.Combine(_folder.Copy(model.Folder, "edited"), ModelFolder.FileName);
        string text = await File.ReadAllTextAsync(manifest, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(
            manifest, text.Replace("\"name\": \"tiny\"", $"\"name\": \"{name}\"", StringComparison.Ordinal),
            TestContext.Current.CancellationToken);
        Assert.Contains(advice, Assert.Throws<RefusedFileException>(() => ModelFolder.Open(_folder["edited"])).Message);
    }

    [Fact]
    public async Task Import_IntoAnEmptyFolder_FillsIt_UnlessAnotherOneWasCutOff()
    {
        Directory.CreateDirectory(_folder["new"]);
        Directory.CreateDirectory(_folder["new.part"]);
        (await ImportAsync(model.Published)).FailedSaying(
            "new.part was left by an import that was interrupted or is still running; remove it first.");
        Directory.Delete(_folder["new.part"]);
        (await ImportAsync(model.Published)).Succeeded();
        Assert.Equal(6, _folder.Content.Length);
    }

    [Fact]
    public void Import_ThatIsInterrupted_LeavesNothing()
    {
        var file = (string name) => new FileInfo(Path.Combine(model.Published, name));
        var files = new ModelImport.Files(
            new DirectoryInfo(_folder["new"]), file("dit.safetensors"), file("dit.json"),
            new DirectoryInfo(Path.Combine(model.Published, "vae")), file("open_clip.safetensors"),
            file("open_clip_config.json"), file("vocabulary.txt.gz"), "name", "licence", "source", 3, 2);
        Assert.Throws<OperationCanceledException>(() => ModelImport.Run(files, new CancellationToken(canceled: true)));
        Assert.Empty(_folder.Content);
    }

    [Fact]
    public async Task List_ShowsModels_AndHidesNoneBehindADamagedOne()
    {
        _folder.Copy(model.Folder, "models/b");
        Directory.CreateDirectory(_folder["models/no model"]);
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "models", "list", "--json", "list.json");
        Assert.Equal(2, run.Succeeded().Lines.Length);
        Assert.Matches("^b +tiny +16x16 +0 +none +[0-9a-f]{12}$", run.Lines[1]);
        JsonElement listed = Assert.Single(_folder.Json("list.json").EnumerateArray());
        Assert.Equal(ModelFolder.Open(model.Folder).Digest, listed.GetProperty("digest").GetString());

        _folder.Write("models/a/model.json", "{}");
        run = await AtelierProgram.RunAsync(_folder.Path, "models", "list");
        Assert.Equal((1, 2), (run.ExitCode, run.Lines.Length));
        Assert.Contains("a/model.json: format: is missing.", run.Error);
    }

    [Fact]
    public async Task List_OfAMissingFolder_IsRefused() =>
        (await AtelierProgram.RunAsync(_folder.Path, "models", "list")).FailedSaying("There is no folder models.");

    [Fact]
    public async Task Inspect_TriesEveryPart_AndNamesThoseThatReturnNaN()
    {
        string copy = _folder.Copy(model.Folder, "copy");
        ProgramRun run = await AtelierProgram.RunAsync(_folder.Path, "models", "inspect", copy);
        Assert.Equal("Every part returns finite numbers.", run.Succeeded().Lines[^1]);
        TinyModel.Fill(copy, "autoencoder", "decoder.", 1e30f);
        TinyModel.Fill(copy, "denoiser", "blocks.0.", float.NaN);
        run = await AtelierProgram.RunAsync(_folder.Path, "models", "inspect", copy, "--json", "inspect.json");
        Assert.Equal(1, run.ExitCode);
        Assert.Equal(4, run.Lines.Count(line => line.EndsWith("matches", StringComparison.Ordinal)));
        Assert.Matches("^The denoiser of the model tiny gave .*\\.$", run.Lines[^2]);
        Assert.Matches("^The decoder of the model tiny gave .*\\.$", run.Lines[^1]);
        string[] inUse =
        [
            .. _folder.Json("inspect.json").EnumerateArray()
                .OrderBy(file => file.GetProperty("name").GetString(), StringComparer.Ordinal)
                .Select(file => file.GetProperty("inUse").GetString()!.Split(" gives ")[0]),
        ];
        Assert.Equal(["the decoder", "the denoiser", "finite", "not run"], inUse);
    }

    [Fact]
    public async Task Inspect_FindsOneByteThatChanged()
    {
        string copy = _folder.Copy(model.Folder, "copy");
        ProgramRun run = await AtelierProgram.RunAsync(
            _folder.Path, "models", "inspect", copy, "--json", "inspect.json");
        Assert.Contains($"digest {ModelFolder.Open(copy).Digest}", run.Succeeded().Lines);
        Assert.All(
            _folder.Json("inspect.json").EnumerateArray(),
            file => Assert.Equal("matches", file.GetProperty("digest").GetString()));

        string damaged = Path.Combine(copy, "autoencoder.safetensors");
        byte[] bytes = await File.ReadAllBytesAsync(damaged, TestContext.Current.CancellationToken);
        bytes[^1] ^= 1;
        await File.WriteAllBytesAsync(damaged, bytes, TestContext.Current.CancellationToken);
        run = await AtelierProgram.RunAsync(_folder.Path, "models", "inspect", copy);
        Assert.Equal(1, run.ExitCode);
        Assert.Matches("^autoencoder.safetensors +[0-9,]+ +[0-9,]+ +DIFFERS$", run.Line("autoencoder"));
        Assert.Equal(3, run.Lines.Count(line => line.EndsWith("matches", StringComparison.Ordinal)));
        Assert.Equal("The model's parts were not run, because a file differs from its digest.", run.Lines[^1]);
    }

    [Fact]
    public async Task Generate_WithFilesThatDoNotFit_IsRefused()
    {
        string copy = _folder.Copy(model.Folder, "copy");
        TinyModel.WriteVocabulary(Path.Combine(copy, "vocabulary.txt.gz"), "r e", "re d</w>", "t h", "th e</w>", "a b");
        await DrawAsync("vocabulary.txt.gz: merges: yield 519 tokens, but the text encoder has 518.");
        File.Copy(
            Path.Combine(model.Folder, "vocabulary.txt.gz"), Path.Combine(copy, "vocabulary.txt.gz"), overwrite: true);
        string weights = Path.Combine(copy, "denoiser.safetensors");
        byte[] bytes = await File.ReadAllBytesAsync(weights, TestContext.Current.CancellationToken);
        bytes[^4] ^= 1; // The lowest bit of a number: the network still loads, but differs.
        await File.WriteAllBytesAsync(weights, bytes, TestContext.Current.CancellationToken);
        await DrawAsync("denoiser.safetensors: digest: is not the one in model.json");
        File.Copy(Path.Combine(copy, "text_encoder.safetensors"), weights, overwrite: true);
        await DrawAsync("denoiser.safetensors: state dict: ", "; missing blocks.0.");

        async Task DrawAsync(params string[] parts)
        {
            (await AtelierProgram.RunAsync(_folder.Path, "generate", "a", "-o", "a.png", "--model", "copy"))
                .FailedSaying(parts);
            Assert.False(File.Exists(_folder["a.png"]));
        }
    }

    private static void Change(
        string published, string file, Action<Dictionary<string, (TensorInfo Info, byte[] Bytes)>> change)
    {
        string path = Path.Combine(published, file);
        Dictionary<string, (TensorInfo Info, byte[] Bytes)> tensors = TinyModel.Read(path);
        change(tensors);
        TinyModel.Write(path, tensors.Values);
    }

    private string Copy() => _folder.Copy(model.Published, "published");

    private Task<ProgramRun> ImportAsync(string published, params string[] options) =>
        AtelierProgram.RunAsync(_folder.Path, [.. TinyModel.ImportArguments(published, "new"), .. options]);

    private async Task RefuseAsync(Action<string> spoil, params string[] parts)
    {
        string published = Copy();
        spoil(published);
        (await ImportAsync(published)).FailedSaying(parts);
        Directory.Delete(published, recursive: true);
        Assert.Empty(_folder.Content);
    }
}
