// A model.json comes from outside: whatever it contains, it is read or rejected with the place of the error, and never
// refers to files elsewhere.
using System.Text.Json.Nodes;
using Atelier.Model;
using Atelier.Model.Pipeline;

namespace Atelier.Cli.Tests;

/// <summary>Corrupts one member at a time of a valid manifest.</summary>
public sealed class ModelFolderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _model;

    public ModelFolderTests(TinyModel model) => _model = _folder.Copy(model.Folder, "model");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("denoiser.file", "\"../model/denoiser.safetensors\"")]
    [InlineData("denoiser.file", "\"/etc/passwd\"")]
    [InlineData("denoiser.file", "\"..\"")]
    [InlineData("denoiser.file", "\".\"")]
    [InlineData("denoiser.file", "\"\"")]
    [InlineData("denoiser.file", "\"a\\u0000b\"")]
    [InlineData("vocabulary.file", "\"sub/vocabulary.txt.gz\"")]
    [InlineData("vocabulary.file", "\"missing.gz\"")]
    [InlineData("autoencoder.file", "3")]
    [InlineData("autoencoder.sha256", "null")]
    [InlineData("format", "2")]
    [InlineData("format", "\"1\"")]
    [InlineData("format", "1e99")]
    [InlineData("name", "\"\"")]
    [InlineData("name", "\"\\u001b[2Jgone\"")]
    [InlineData("licence", "\"two\\nlines\"")]
    [InlineData("source", "[]")]
    [InlineData("denoiser", "[]")]
    [InlineData("denoiser.config", "\"XL_2\"")]
    [InlineData("denoiser.config.dim", "1e300")]
    [InlineData("denoiser.config.depth", "-1")]
    [InlineData("denoiser.config.depth", "\"two\"")]
    [InlineData("denoiser.config.depth", "1000000000")]
    [InlineData("denoiser.config.qkv_multipliers", "[]")]
    [InlineData("denoiser.config.qkv_multipliers", "{}")]
    [InlineData("denoiser.config.in_channels", "16")]
    [InlineData("denoiser.config.caption_channels", "64")]
    [InlineData("denoiser.config.unknown", "1")]
    [InlineData("denoiser.sigma_data", "0")]
    [InlineData("denoiser.sigma_data", "\"0.9\"")]
    [InlineData("autoencoder.config", "null")]
    [InlineData("autoencoder.config.block_out_channels", "[8, -8]")]
    [InlineData("autoencoder.config.latent_channels", "1")]
    [InlineData("text_encoder.config", "\"ViT-B-32\"")]
    [InlineData("text_encoder.config.model_cfg.text_cfg.heads", "0")]
    [InlineData("defaults", "null")]
    [InlineData("defaults.steps", "0")]
    [InlineData("defaults.steps", "1001")]
    [InlineData("defaults.guidance", "1e999")]
    [InlineData("defaults.guidance", "0")]
    public void WrongMember_IsRefused(string path, string value)
    {
        string file = Path.Combine(_model, ModelFolder.FileName);
        JsonNode root = JsonNode.Parse(File.ReadAllText(file))!;
        string[] steps = path.Split('.');
        JsonNode parent = steps[..^1].Aggregate(root, (node, step) => node[step]!);
        parent[steps[^1]] = JsonNode.Parse(value);
        File.WriteAllText(file, root.ToJsonString());
        AssertRefused("");
    }

    [Theory]
    [InlineData("format")]
    [InlineData("name")]
    [InlineData("licence")]
    [InlineData("source")]
    [InlineData("denoiser")]
    [InlineData("autoencoder")]
    [InlineData("text_encoder")]
    [InlineData("vocabulary")]
    [InlineData("defaults")]
    public void MissingMember_IsRefused_ByItsName(string name)
    {
        string file = Path.Combine(_model, ModelFolder.FileName);
        JsonObject root = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        root.Remove(name);
        File.WriteAllText(file, root.ToJsonString());
        AssertRefused($"{name}: is missing.");
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("{\"format\": 1}")]
    public void WrongManifest_IsRefused(string text)
    {
        File.WriteAllText(Path.Combine(_model, ModelFolder.FileName), text);
        AssertRefused("");
    }

    [Fact]
    public void HugeOrDeepManifest_IsRefused()
    {
        File.WriteAllText(Path.Combine(_model, ModelFolder.FileName), new string('[', 100_000));
        AssertRefused("");
        File.WriteAllText(Path.Combine(_model, ModelFolder.FileName), new string(' ', 2 << 20));
        AssertRefused("length");
    }

    [Theory]
    [InlineData("denoiser.safetensors")]
    [InlineData("vocabulary.txt.gz")]
    public void MissingFile_IsNamed(string file)
    {
        File.Delete(Path.Combine(_model, file));
        AssertRefused($"{file}: is listed here, but the file is not in the folder.");
    }

    private void AssertRefused(string part)
    {
        var error = Assert.Throws<RefusedFileException>(() => ModelFolder.Open(_model));
        Assert.StartsWith(Path.Combine(_model, ModelFolder.FileName) + ": ", error.Message);
        Assert.DoesNotContain(": : ", error.Message);
        Assert.DoesNotContain('\u001b', error.Message);
        Assert.Contains(part, error.Message);
    }
}
