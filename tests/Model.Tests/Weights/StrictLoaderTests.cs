// Goal: a network is filled exactly as the file says or not at all, in any floating-point type, and leaks no tensors.
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Weights;

public sealed class StrictLoaderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(ElementType.Float64, 0)]
    [InlineData(ElementType.Float32, 0)]
    [InlineData(ElementType.Float16, 1e-3)]
    [InlineData(ElementType.BFloat16, 1e-2)]
    public void Network_RoundTrips_ThroughEveryFloat(ElementType type, double tolerance)
    {
        using var saved = Filled(new Linear(300, 20, bias: true), seed: 1);
        StateDictFile.Save(saved, _folder["a"], type);
        using var source = WeightFile.Open(_folder["a"]);
        Assert.All(source.Tensors.Values, info => Assert.Equal(type, info.Type));
        using var loaded = Filled(new Linear(300, 20, bias: true), seed: 2);
        StrictLoader.Load(loaded, source, checkFinite: true);
        Assert.True(allclose(saved.Weight, loaded.Weight, rtol: tolerance, atol: 0));
        Assert.True(allclose(saved.Bias!, loaded.Bias!, rtol: tolerance, atol: 0));
        Assert.True(loaded.Weight.requires_grad);
    }

    [Theory]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float64)]
    public void Network_OfAnotherType_KeepsItsType(ScalarType type)
    {
        using var saved = Filled(new Linear(3, 2, bias: false), seed: 1);
        StateDictFile.Save(saved, _folder["a"]);
        using var source = WeightFile.Open(_folder["a"]);
        using var loaded = new Linear(3, 2, bias: false).to(type);
        StrictLoader.Load(loaded, source);
        using var expected = saved.Weight.to(type);
        Assert.Equal(type, loaded.state_dict()["weight"].dtype);
        Assert.True(equal(expected, loaded.state_dict()["weight"]).all().item<bool>());
    }

    [Fact]
    public void Pieces_OfALargeTensor_AllArrive()
    {
        // Two pieces and a remainder, through both the direct and the converting path.
        using var saved = Filled(new Linear(4100, 2050, bias: false), seed: 1);
        foreach (var type in (ElementType[])[ElementType.Float32, ElementType.Float64])
        {
            StateDictFile.Save(saved, _folder["a"], type);
            using var source = WeightFile.Open(_folder["a"]);
            using var loaded = new Linear(4100, 2050, bias: false);
            StrictLoader.Load(loaded, source);
            Assert.True(equal(saved.Weight, loaded.Weight).all().item<bool>());
        }
    }

    [Fact]
    public void Mismatches_AreAllListed_AndNothingIsWritten()
    {
        WeightFiles.Write(
            _folder["a"], ("weight", ElementType.Float32, [3, 2], new byte[24]), ("extra", ElementType.Int8, [1], [1]),
            ("another", ElementType.Float16, [0], []));
        using var source = WeightFile.Open(_folder["a"]);
        using var module = Filled(new Linear(3, 2, bias: true), seed: 1);
        using var before = module.Weight.clone();
        var refusal = Assert.Throws<RefusedFileException>(() => StrictLoader.Load(module, source));
        Assert.Equal(
            "4 tensors do not match the model: unexpected another F16 [0]; unexpected extra I8 [1]; "
            + "weight is F32 [3, 2] in the file, F32 [2, 3] in the model; missing bias", refusal.Reason);
        Assert.True(equal(before, module.Weight).all().item<bool>());
    }

    [Fact]
    public void ManyMismatches_AreCounted_AndTheFirstOfEachKindListed()
    {
        string name = new('x', 500);
        WeightFiles.Write(
            _folder["a"],
            [.. Enumerable.Range(0, 200).Select(i => ($"{i:d3}{name}", ElementType.Int8, (long[])[1], new byte[1]))]);
        using var source = WeightFile.Open(_folder["a"]);
        using var module = Filled(new Linear(3, 2, bias: true), seed: 1);
        string reason = Assert.Throws<RefusedFileException>(() => StrictLoader.Load(module, source)).Reason;
        Assert.StartsWith("202 tensors do not match the model: unexpected 000xxx", reason);
        Assert.EndsWith("... I8 [1]; 196 more unexpected; missing bias; missing weight", reason);
        Assert.InRange(reason.Length, 100, 1000);
    }

    [Fact]
    public void IntegersInTheFile_DoNotBecomeFloats()
    {
        WeightFiles.Write(_folder["a"], ("weight", ElementType.Int32, [1, 1], new byte[4]));
        using var source = WeightFile.Open(_folder["a"]);
        using var module = new Linear(1, 1, bias: false);
        Assert.Throws<RefusedFileException>(() => StrictLoader.Load(module, source));
    }

    [Fact]
    public void RenamedAndIgnoredTensors_AreTakenAsAsked()
    {
        WeightFiles.Write(
            _folder["a"], ("w", ElementType.Float32, [1, 1], [0, 0, 0x80, 0x3f]),
            ("fc.weight", ElementType.Int8, [1], [1]), ("dropped", ElementType.Int8, [1], [1]));
        using var source = WeightFile.Open(_folder["a"]);
        using var module = Filled(new Linear(1, 1, bias: true), seed: 1);
        var bias = module.Bias!.item<float>();
        StrictLoader.Load(
            module, source, name => name switch { "w" => "weight", "dropped" => null, _ => name },
            ignore: ["bias", "fc.*"]);
        Assert.Equal(1f, module.Weight.item<float>());
        Assert.Equal(bias, module.Bias!.item<float>());
    }

    [Fact]
    public void TwoTensorsForOneName_AreRefused()
    {
        WeightFiles.Write(
            _folder["a"], ("a", ElementType.Float32, [1, 1], new byte[4]),
            ("b", ElementType.Float32, [1, 1], new byte[4]));
        using var source = WeightFile.Open(_folder["a"]);
        using var module = new Linear(1, 1, bias: false);
        var refusal = Assert.Throws<RefusedFileException>(() => StrictLoader.Load(module, source, _ => "weight"));
        Assert.Contains("weight comes from both a and b", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void NumberThatIsNotFinite_IsRefusedByTensor_WhenAsked(float bad)
    {
        WeightFiles.Write(
            _folder["a"], ("bias", ElementType.Float32, [1], new byte[4]),
            ("weight", ElementType.Float32, [1, 1], BitConverter.GetBytes(bad)));
        using var source = WeightFile.Open(_folder["a"]);
        using var module = new Linear(1, 1, bias: true);
        var refusal = Assert.Throws<RefusedFileException>(() => StrictLoader.Load(module, source, checkFinite: true));
        Assert.Equal("tensor \"weight\"", refusal.Place);
        StrictLoader.Load(module, source);
    }

    [Fact]
    public void BatchNorm_LoadsItsBuffers_FromAPickledModule()
    {
        using var module = nn.Sequential(("bn", nn.BatchNorm1d(2)));
        using var source = WeightFile.Open(WeightFiles.Vector("module_state_dict.pt"));
        StrictLoader.Load(module, source, name => name.StartsWith("bn.", StringComparison.Ordinal) ? name : null);
        using var expected = SafeTensorsFile.Open(WeightFiles.Vector("module_state_dict.expected.safetensors"));
        foreach (var (name, tensor) in module.state_dict())
        {
            Assert.Equal(expected.ReadAll(name), tensor.bytes.ToArray());
        }
    }

    [Fact]
    public void LoadingAndSaving_LeaveNoTensorBehind()
    {
        using var module = Filled(new Linear(30, 20, bias: true), seed: 1);
        StateDictFile.Save(module, _folder["a"], ElementType.Float16);
        using var source = WeightFile.Open(_folder["a"]);
        var before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (var i = 0; i < 5; i++)
        {
            StrictLoader.Load(module, source, checkFinite: true);
            StateDictFile.Save(module, _folder["b"], ElementType.BFloat16);
        }

        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Save_OfFloatsAsIntegers_IsRefused()
    {
        using var module = new Linear(1, 1, bias: false);
        Assert.Throws<ArgumentException>(() => StateDictFile.Save(module, _folder["a"], ElementType.Int8));
    }

    private static Linear Filled(Linear module, ulong seed)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var generator = new Generator(seed, CPU);
        foreach (var (_, tensor) in module.named_parameters())
        {
            tensor.copy_(randn(tensor.shape, generator: generator));
        }

        return module;
    }
}
