// Goal: a specification has one form in bytes, and what is wrong with one is refused. Method: approved bytes, single
// changes, and a fault at a time.
using System.Text;
using System.Text.Json;
using Atelier.Contracts.Generations;
using Xunit;

namespace Atelier.Contracts.Tests.Generations;

public sealed class GenerationSpecTests
{
    private static readonly GenerationSpec s_spec = new()
    {
        Model = new ModelDigest(new string('a', 64)),
        Prompt = "a red \"circle\" \\ über 日本 🎨\n<b>",
        Negative = "blue",
        Seed = ulong.MaxValue,
        Steps = 30,
        Guidance = 4.1,
        Width = 256,
        Height = 128,
    };

    [Fact]
    public void CanonicalBytes_AreJson_AndHoldEveryCharacter()
    {
        using var json = JsonDocument.Parse(s_spec.ToCanonicalJson());
        Assert.Equal(s_spec.Prompt, json.RootElement.GetProperty("prompt").GetString());
        Assert.Equal(ulong.MaxValue, json.RootElement.GetProperty("seed").GetUInt64());
    }

    [Fact]
    public void CanonicalBytes_AreTheApprovedOnes()
    {
        GenerationSpec spec = s_spec with { Prompt = "a red circle" };
        Assert.Equal(
            "{\"version\":1,\"kind\":\"text-to-image\",\"model\":\"" + new string('a', 64)
                + "\",\"adapters\":[],\"inputs\":[],"
            + "\"prompt\":\"a red "
            + "circle\",\"negative\":\"blue\",\"seed\":18446744073709551615,\"steps\":30,\"sampler\":\"heun\","
            + "\"guidance\":4.1,\"width\":256,\"height\":128,\"format\":\"png\"}",
            Encoding.UTF8.GetString(spec.ToCanonicalJson()));
    }

    [Fact]
    public void TextOfAMessage_LeavesOutThePrompts()
    {
        string text = new GenerationView
        {
            Key = new GenerationKey(new TenantId("tenant"), new GenerationId("g")),
            Submission = new Submission { Spec = s_spec with { Prompt = "secret one", Negative = "secret two" } },
            Phase = GenerationPhase.Encoding, AcceptedAt = DateTimeOffset.UnixEpoch,
            Encoded = new EncodedPrompts(new PromptTokens(9, 7, "secret end"), null),
        }.ToString();
        Assert.Contains("tenant/g", text, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", text, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryMember_ChangesTheDigest()
    {
        GenerationSpec[] others =
        [
            s_spec, s_spec with { Model = new ModelDigest(new string('b', 64)) }, s_spec with { Prompt = "x" },
            s_spec with { Negative = "" }, s_spec with { Seed = 0 }, s_spec with { Steps = 31 },
            s_spec with { Guidance = 4.2 }, s_spec with { Width = 255 }, s_spec with { Height = 129 },
        ];
        Assert.Equal(others.Length, others.Select(spec => spec.Digest()).Distinct().Count());
    }

    [Fact]
    public void Faults_SayWhatWouldBeRight()
    {
        GenerationSpec[] wrong =
        [
            s_spec with { Kind = "video" }, s_spec with { Model = new ModelDigest("x") },
            s_spec with { Model = default },
            s_spec with { Prompt = " " }, s_spec with { Prompt = new string('x', GenerationSpec.PromptLengthMax + 1) },
            s_spec with { Prompt = "half \ud800" }, s_spec with { Negative = null! }, s_spec with { Steps = 0 },
            s_spec with { Steps = GenerationSpec.StepsMax + 1 }, s_spec with { Guidance = 0.9 },
            s_spec with { Guidance = double.NaN }, s_spec with { Width = 0 }, s_spec with { Height = int.MaxValue },
            s_spec with { Prompt = new string('\u65e5', 30_000) }, s_spec with { Sampler = "ddim" },
            s_spec with { Format = "gif" },
        ];
        Assert.Null(s_spec.Fault());
        Assert.All(wrong, spec => Assert.NotNull(spec.Fault()));
    }

    [Theory]
    [InlineData("a", true)]
    [InlineData("A-1_b", true)]
    [InlineData("", false)]
    [InlineData(null, false)]
    [InlineData("-a", false)]
    [InlineData("..", false)]
    [InlineData("a/b", false)]
    [InlineData("a\n", false)]
    [InlineData("ä", false)]
    [InlineData("a%2fb", false)]
    public void Names_AreReadStrictly(string? text, bool valid)
    {
        Assert.Equal(valid, GenerationId.TryParse(text, out _));
        Assert.Equal(valid, TenantId.TryParse(text, out _));
        Assert.Equal(valid, SessionId.TryParse(text, out _));
        Assert.Equal(valid, GenerationKey.TryParse($"t/{text}", out _));
        Assert.False(GenerationKey.TryParse($"t/{text}/x", out _));
        Assert.False(GenerationId.TryParse(new string('a', Names.LengthMax + 1), out _));
    }

    [Theory]
    [InlineData("3.17", true)]
    [InlineData("0.0", true)]
    [InlineData("12.0", true)]
    [InlineData("999.1000", true)]
    [InlineData("1000.0", false)]
    [InlineData("3", false)]
    [InlineData("-1.0", false)]
    [InlineData("3.1001", false)]
    [InlineData("3.1e3", false)]
    [InlineData("99999999999.0", false)]
    public void EventNumbers_AreReadStrictly(string text, bool valid) =>
        Assert.Equal(valid, EventNumber.TryParse(text, out EventNumber number) && number.ToString() == text);

    [Fact]
    public void BlobNames_LeadNowhereElse()
    {
        string digest = new('0', 64);
        Assert.True(BlobName.TryParse($"pictures/t/{digest}", out _));
        string[] tricks =
            [$"pictures/../{digest}", $"../t/{digest}", $"pictures/t/../{digest}", $"pictures/t/{digest}/", "x"];
        Assert.All(tricks, text => Assert.False(BlobName.TryParse(text, out _)));
    }

    [Fact]
    public void BlobNames_HaveATenant_UnlessTheirKindIsTheClusters()
    {
        string digest = new('0', 64);
        var tenant = new TenantId("t");
        foreach (BlobKindInfo kind in BlobKinds.All)
        {
            string own = $"{kind.Spelling}/t/{digest}", cluster = $"{kind.Spelling}/{digest}";
            bool isTenants = kind.Scope == BlobScope.Tenant;
            Assert.Equal((isTenants, !isTenants), (BlobName.TryParse(own, out _), BlobName.TryParse(cluster, out _)));
            BlobName name = isTenants
                ? BlobName.Of(kind.Kind, tenant, digest)
                : BlobName.OfCluster(kind.Kind, digest);
            Assert.Equal((isTenants ? own : cluster, digest), (name.Value, name.Sha256));
            Assert.Equal(isTenants ? tenant : null, name.Tenant);
            Assert.Throws<ArgumentException>(() => isTenants
                ? BlobName.OfCluster(kind.Kind, digest)
                : BlobName.Of(kind.Kind, tenant, digest));
        }

        Assert.Equal(Enum.GetValues<BlobKind>(), BlobKinds.All.Select(kind => kind.Kind));
    }
}
