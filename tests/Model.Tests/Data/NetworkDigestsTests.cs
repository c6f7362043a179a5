// Goal: data says which networks made it, and nothing is concluded from data that does not say so. Method: recipes of
// Precompute, read back.
using System.Text.Json;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Data;
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Tests.Networks;
using Atelier.Model.Tests.Pipeline;
using Xunit;

namespace Atelier.Model.Tests.Data;

public sealed class NetworkDigestsTests
{
    [Fact]
    public void ARecipe_NamesTheNetworksThatMadeTheLatents()
    {
        using var folder = new TemporaryFolder();
        (ClipTextEncoder text, MicroDiT network, AutoencoderKL autoencoder) = TinyPipeline.Networks(
            SmallNetworks.Tiny, null, 0);
        using (text)
        using (network)
        using (autoencoder)
        {
            ClipTokenizer tokenizer = TinyPipeline.Tokenizer();
            new Precompute(new OnePicture(), autoencoder, text, tokenizer, [16], 1)
                .Run(folder["data"], 1, null, TestContext.Current.CancellationToken);
            NetworkDigests expected = NetworkDigests.Of(autoencoder, text, tokenizer);
            Assert.Equal(expected, NetworkDigests.Read([folder["data"], folder["data"]]));
            Assert.Equal(TorchSharp.torch.ScalarType.Float32, expected.Type());
            Assert.NotEqual(expected.Autoencoder, expected.TextEncoder);
        }
    }

    [Fact]
    public void DataWithoutARecipe_OrOfDifferentNetworks_NamesNone()
    {
        using var folder = new TemporaryFolder();
        var one = new NetworkDigests("a", "b", "c", "Float32");
        Write("one", one);
        Write("other", one with { TextEncoder = "x" });
        Directory.CreateDirectory(folder["none"]);
        Directory.CreateDirectory(folder["damaged"]);
        File.WriteAllText(folder["damaged/recipe.json"], "{");
        Directory.CreateDirectory(folder["earlier"]);
        File.WriteAllText(folder["earlier/recipe.json"], """{"autoencoder":"a"}""");
        Assert.Equal(one, NetworkDigests.Read([folder["one"]]));
        Assert.Null(NetworkDigests.Read([folder["one"], folder["other"]]));
        Assert.Null(NetworkDigests.Read([folder["one"], folder["none"]]));
        Assert.All(
            (string[])["none", "damaged", "earlier", "absent"],
            name => Assert.Null(NetworkDigests.Read([folder[name]])));
        Assert.Null((one with { Precision = "Float3" }).Type());

        void Write(string name, NetworkDigests digests)
        {
            Directory.CreateDirectory(folder[name]);
            File.WriteAllText(folder[$"{name}/recipe.json"], JsonSerializer.Serialize(new Dictionary<string, string>
            {
                ["autoencoder"] = digests.Autoencoder, ["text encoder"] = digests.TextEncoder,
                ["vocabulary"] = digests.Vocabulary, ["precision"] = digests.Precision,
            }));
        }
    }

    private sealed class OnePicture : ICaptionedPictures
    {
        public long Count => 1;

        public IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation) =>
            new Dictionary<string, string> { ["source"] = "one" };

        public string Caption(long index) => "red";

        public RgbImage Picture(long index, int side) => new(side, side, new byte[3 * side * side]);
    }
}
