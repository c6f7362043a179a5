// A case of the reference data: its configuration, inputs and expected results. Weights come from the formula.
using System.Text.Json;
using Atelier.Cli.Verify;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Verify;

internal sealed class FormulaCase
{
    private readonly JsonElement _case;
    private readonly Dictionary<string, Tensor> _inputs;
    private readonly Dictionary<string, Tensor> _expected;

    public FormulaCase(string topic)
    {
        string folder = ReferenceData.At(topic);
        _case = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "case.json"))).RootElement;
        _inputs = ReadTensors(Path.Combine(folder, "inputs.safetensors"));
        _expected = ReadTensors(Path.Combine(folder, "expected.safetensors"));
    }

    public JsonElement Config => _case.GetProperty("config");

    public JsonElement StateDict => _case.GetProperty("state_dict");

    public string Prefix => _case.GetProperty("weight_prefix").GetString()!;

    public double Gain => _case.TryGetProperty("weight_gain", out JsonElement gain) ? gain.GetDouble() : 1;

    public IEnumerable<string> Taps =>
        from name in _expected.Keys where name.StartsWith("tap/", StringComparison.Ordinal) select name[4..];

    public static JsonElement FullSize(string file) =>
        JsonDocument.Parse(File.ReadAllBytes(ReferenceData.At(file))).RootElement;

    public Tensor Input(string name)
    {
        if (_inputs.TryGetValue(name, out Tensor? literal))
        {
            return literal;
        }

        JsonElement entry = _case.GetProperty("inputs").GetProperty(name);
        Tensor tensor = empty(Shape(entry));
        FormulaWeights.Fill(
            tensor,
            entry.GetProperty("formula_name").GetString()!,
            entry.GetProperty("center").GetDouble(),
            entry.GetProperty("scale").GetDouble());
        return tensor;
    }

    public void AssertClose(string name, Tensor actual)
    {
        Tensor expected = _expected[name];
        Assert.Equal(expected.shape, actual.shape);
        double error = (actual - expected).abs().max().item<float>();
        double allowed = _case.GetProperty("tolerance").GetProperty(name).GetProperty("max_abs").GetDouble();
        Assert.True(error <= allowed, $"{name}: off by {error:g3}, allowed {allowed:g3}");
    }

    /// <summary>Records the outputs of the named submodules, in the order of the calls.</summary>
    public static Dictionary<string, List<Tensor>> Record(nn.Module root, IEnumerable<string> names)
    {
        var modules = root.named_modules().ToDictionary(m => m.name, m => m.module);
        var records = new Dictionary<string, List<Tensor>>();
        foreach (string name in names)
        {
            List<Tensor> record = records[name] = [];
            ((nn.Module<Tensor, Tensor>)modules[name]).register_forward_hook((_, _, output) =>
            {
                record.Add(output.detach().clone().DetachFromDisposeScope());
                return output;
            });
        }

        return records;
    }

    public static void AssertStateDict(JsonElement expected, nn.Module module)
    {
        IEnumerable<string> want = expected.EnumerateArray().Select(e =>
            $"{e.GetProperty("name").GetString()} {e.GetProperty("dtype").GetString()} "
            + $"[{string.Join(", ", Shape(e))}]");
        IEnumerable<string> have = module.state_dict().Select(e =>
            $"{e.Key} {e.Value.dtype.ToString().ToLowerInvariant()} [{string.Join(", ", e.Value.shape)}]");
        Assert.Equal(want.Order(StringComparer.Ordinal), have.Order(StringComparer.Ordinal));
    }

    public static byte[] Bits(Tensor tensor) => tensor.contiguous().bytes.ToArray();

    private static long[] Shape(JsonElement entry) =>
        [.. entry.GetProperty("shape").EnumerateArray().Select(n => n.GetInt64())];

    private static Dictionary<string, Tensor> ReadTensors(string file)
    {
        var tensors = new Dictionary<string, Tensor>();
        if (!File.Exists(file))
        {
            return tensors;
        }

        byte[] bytes = File.ReadAllBytes(file);
        int data = 8 + checked((int)BitConverter.ToInt64(bytes));
        foreach (JsonProperty entry in JsonDocument.Parse(bytes.AsMemory(8..data)).RootElement.EnumerateObject())
        {
            int[] offsets = [.. entry.Value.GetProperty("data_offsets").EnumerateArray().Select(n => n.GetInt32())];
            bool whole = entry.Value.GetProperty("dtype").GetString() == "I64";
            Tensor tensor = empty(Shape(entry.Value), whole ? ScalarType.Int64 : ScalarType.Float32);
            bytes.AsSpan(data + offsets[0], offsets[1] - offsets[0]).CopyTo(tensor.bytes);
            tensors.Add(entry.Name, tensor);
        }

        return tensors;
    }
}
