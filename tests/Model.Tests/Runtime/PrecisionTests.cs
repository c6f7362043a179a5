// Goal: names map to precisions and back, and other names are rejected.
using Atelier.Model.Runtime;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Runtime;

public sealed class PrecisionTests
{
    [Theory]
    [InlineData("float32", ScalarType.Float32)]
    [InlineData("bfloat16", ScalarType.BFloat16)]
    public void Name_IsThePrecisionWhateverTheProcessorHas(string word, ScalarType type)
    {
        Assert.Equal(type, Precision.Parse(word));
        Assert.Equal(word, Precision.Name(type));
    }

    [Fact]
    public void Auto_IsWhatThisProcessorIsFastestIn() =>
        Assert.Equal(Libtorch.FastPrecision, Precision.Parse("auto"));

    [Theory]
    [InlineData(null, true)]
    [InlineData("ALL", true)]
    [InlineData("AVX512_CORE_BF16", true)]
    [InlineData("AVX512_CORE_AMX", true)]
    [InlineData("AVX512_CORE", false)]
    [InlineData("avx2", false)]
    [InlineData("SSE41", false)]
    public void AProcessorHeldDown_HasBFloat16_OnlyWhereItsInstructionsAreLeft(string? isa, bool has) =>
        Assert.Equal(has, Libtorch.HasBFloat16(isa));

    [Fact]
    public void OtherNamesAndTypes_AreRefused()
    {
        var error = Assert.Throws<ArgumentException>(() => Precision.Parse("half"));
        Assert.Contains("float32 or bfloat16, not half", error.Message);
        Assert.Throws<ArgumentException>(() => Precision.Name(ScalarType.Float16));
    }
}
