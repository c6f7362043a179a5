// Goal: every file of the reference table is loaded bit for bit, rejected by name, or survived, as the table says.
using System.Text.Json;
using Atelier.Model.Weights;
using Xunit;

namespace Atelier.Model.Tests.Weights;

public sealed class WeightTableTests
{
    public static TheoryData<string> Loaded => [.. Rows("load").Select(row => row.GetProperty("file").GetString()!)];

    public static TheoryData<string> Refused => [.. Rows("refuse").Select(row => row.GetProperty("file").GetString()!)];

    public static TheoryData<string> Survived =>
        [.. Rows("survive").Select(row => row.GetProperty("file").GetString()!)];

    [Theory]
    [MemberData(nameof(Loaded))]
    public void SoundFile_IsLoadedBitForBit(string file)
    {
        using var source = WeightFile.Open(WeightFiles.Vector(file));
        var expectedFile = Path.ChangeExtension(file, null) + ".expected.safetensors";
        using var expected = SafeTensorsFile.Open(WeightFiles.Vector(expectedFile));
        Assert.Equal(expected.Tensors.Keys.Order(), source.Tensors.Keys.Order());
        foreach (var (name, info) in expected.Tensors)
        {
            Assert.Equal(info.ToString(), source.Tensors[name].ToString());
            Assert.Equal(expected.ReadAll(name), source.ReadAll(name));
        }
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public void BadFile_IsRefusedByName(string file)
    {
        var path = WeightFiles.Vector(file);
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFile.Open(path));
        Assert.StartsWith(path, refusal.Message, StringComparison.Ordinal);
        Assert.NotEmpty(refusal.Place);
        Assert.NotEmpty(refusal.Reason);
    }

    [Theory]
    [MemberData(nameof(Survived))]
    public void UnusualFile_IsSurvived(string file)
    {
        var error = Record.Exception(() => WeightFile.Open(WeightFiles.Vector(file)).Dispose());
        Assert.True(error is null or RefusedFileException, error?.ToString());
    }

    [Fact]
    public void NumbersBesideTheTensors_AreFoundByPath()
    {
        using var checkpoint = TorchCheckpoint.Open(WeightFiles.Vector("composer_nested.pt"));
        var row = Rows("load").Single(row => row.GetProperty("file").GetString() == "composer_nested.pt");
        foreach (var scalar in row.GetProperty("scalars").EnumerateObject())
        {
            object expected = scalar.Value switch
            {
                { ValueKind: JsonValueKind.String } text => text.GetString()!,
                var number when number.TryGetInt64(out var whole) => whole,
                var number => number.GetDouble(),
            };
            Assert.Equal(expected, checkpoint.Scalars[scalar.Name]);
        }
    }

    private static List<JsonElement> Rows(string must)
    {
        using var table = JsonDocument.Parse(File.ReadAllBytes(WeightFiles.Vector("table.json")));
        return [.. table.RootElement.GetProperty("rows").EnumerateArray()
            .Where(row => row.GetProperty("must").GetString() == must).Select(row => row.Clone())];
    }
}
