// Goal: a stage's weights get the networks that made its latents and no others, and a refusal says what would be right.
// Method: two tiny models that differ in their autoencoders.
using Atelier.Contracts;
using Atelier.Model.Data;
using Atelier.Model.Pipeline;
using Atelier.Model.Tests.Training.Runs;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Models;
using Atelier.Silo.Tests.Devices;
using TorchSharp;
using Xunit;

namespace Atelier.Silo.Tests.Models;

public sealed class BaseModelsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bases").FullName;
    private readonly ModelFolder _one, _two;
    private readonly StageConfig _config = ToyStage.Config("nowhere");

    public BaseModelsTests() => (_one, _two) = (
        TinyModels.Write(Path.Combine(_folder, "one"), "one"),
        TinyModels.Write(Path.Combine(_folder, "two"), "two", prefix: "others/"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void TheModelIsFound_ByTheNetworksThatMadeTheLatents_InTheirPrecision()
    {
        var bases = new BaseModels([Path.Combine(_folder, "absent"), _one.Path, _two.Path]);
        foreach (ModelFolder model in (ModelFolder[])[_one, _two])
        {
            Assert.Equal(model.Digest, bases.Find(_config, Digests(model), null).Digest);
            Assert.Equal(
                model.Digest,
                bases.Find(_config, Digests(model, torch.ScalarType.BFloat16), null).Digest);
            Assert.Equal(model.Digest, bases.Find(_config, null, new ModelDigest(model.Digest)).Digest);
        }
    }

    [Fact]
    public void AModelThatDoesNotFit_IsRefused_WithWhatWouldBeRight()
    {
        var bases = new BaseModels([_one.Path]);
        Refused(() => bases.Find(_config, null, null), "does not record which networks", "name the model", "one (");
        Refused(() => bases.Find(_config, Digests(_two), null), Digests(_two).Autoencoder, "Models:Folders");
        Refused(() => bases.Find(_config, null, new ModelDigest(_two.Digest)), _two.Digest, "This silo has one (");
        Refused(
            () => bases.Find(_config, Digests(_two), new ModelDigest(_one.Digest)),
            "does not fit the latents of toy: its autoencoder is " + Digests(_one).Autoencoder);
        Refused(
            () => bases.Find(_config, Digests(_one) with { Vocabulary = "x" }, new ModelDigest(_one.Digest)),
            "its vocabulary is");
        Refused(
            () => bases.Find(_config, Digests(_one) with { Precision = "Float12" }, new ModelDigest(_one.Digest)),
            "Float12");
        Refused(
            () => bases.Find(
                _config with { Network = _config.Network with { InChannels = 8 } }, null, new ModelDigest(_one.Digest)),
            "model.in_channels is 8, and 4 in that model");
        Refused(
            () => bases.Find(
                _config with { Network = _config.Network with { CaptionChannels = 32 } }, Digests(_one), null),
            "model.caption_channels is 32, and 24 in that model");
        Refused(() => new BaseModels([]).Find(_config, null, null), "This silo has no models in Models:Folders.");

        static void Refused(Action find, params string[] says)
        {
            PublishRefusedException refusal = Assert.Throws<PublishRefusedException>(find);
            Assert.Equal("model_mismatch", refusal.Code);
            Assert.All(says, text => Assert.Contains(text, refusal.Message, StringComparison.Ordinal));
        }
    }

    private static NetworkDigests Digests(
        ModelFolder model, torch.ScalarType precision = torch.ScalarType.Float32)
    {
        using Encoders encoders = Encoders.Load(model);
        encoders.Autoencoder.to(precision);
        encoders.Text.to(precision);
        return NetworkDigests.Of(encoders.Autoencoder, encoders.Text, encoders.Tokenizer);
    }
}
