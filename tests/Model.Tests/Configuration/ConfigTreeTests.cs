// Goal: a stage file is read exactly, or rejected by line, key or byte.
using Atelier.Model.Configuration;
using Xunit;

namespace Atelier.Model.Tests.Configuration;

public sealed class ConfigTreeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void PromptsOfAPanel_ThatAreNotText_AreRefused() =>
        Assert.Equal("byte 24", Refused([.. "panel:\n  prompts: [a caf"u8, 0xE9, .. "]\n"u8]).Place);

    [Fact]
    public void AKeyThatOccursTwice_IsRefused()
    {
        RefusedFileException refusal = Refused("optimizer.lr: 1\noptimizer:\n  lr: 2\n"u8.ToArray());
        Assert.Equal("line 3", refusal.Place);
        Assert.StartsWith("optimizer.lr is given twice", refusal.Reason);
        Refused("seed: 1\nseed: 2\n"u8.ToArray());
    }

    private RefusedFileException Refused(byte[] yaml)
    {
        File.WriteAllBytes(_folder["stage.yaml"], yaml);
        var refusal = Assert.Throws<RefusedFileException>(() => ConfigTree.Read(_folder["stage.yaml"], []));
        Assert.Equal(_folder["stage.yaml"], refusal.File);
        return refusal;
    }
}
