// A case of the reference data: its case.json and the tensors beside it.
using System.Runtime.InteropServices;
using System.Text.Json;
using Atelier.Model;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>A folder with a case.json, its inputs and its expected outputs.</summary>
public sealed class CaseFolder : IDisposable
{
    private readonly JsonDocument _document;
    private readonly SafeTensorsFile? _inputs;
    private readonly SafeTensorsFile? _expected;

    /// <summary>Opens a case.</summary>
    /// <param name="path">The folder.</param>
    /// <exception cref="RefusedFileException">A file of the case is missing or damaged.</exception>
    public CaseFolder(string path)
    {
        Path = path;
        string file = System.IO.Path.Combine(path, "case.json");
        try
        {
            _document = JsonDocument.Parse(File.ReadAllBytes(file));
        }
        catch (JsonException error)
        {
            throw new RefusedFileException(file, $"line {error.LineNumber + 1}", "is not JSON.", error);
        }

        _inputs = OpenIfExists("inputs.safetensors");
        _expected = OpenIfExists("expected.safetensors");
    }

    /// <summary>Path of the folder.</summary>
    public string Path { get; }

    /// <summary>The content of case.json.</summary>
    public JsonElement Json => _document.RootElement;

    /// <summary>
    /// Prefix that <see cref="FormulaWeights"/> adds to each parameter's name to compute its weights.
    /// </summary>
    public string WeightPrefix => Text("weight_prefix") ?? "";

    /// <summary>Names of the expected tensors.</summary>
    public IEnumerable<string> ExpectedNames => _expected?.Tensors.Keys ?? [];

    /// <summary>A string member of case.json; null if it is absent.</summary>
    public string? Text(string name) => Json.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;

    /// <summary>Whether an input of the given name is stored or can be computed.</summary>
    public bool HasInput(string name) =>
        _inputs?.Tensors.ContainsKey(name) == true
        || (Json.TryGetProperty("inputs", out JsonElement inputs) && inputs.TryGetProperty(name, out _));

    /// <summary>
    /// Returns an input. A stored input is checked against its formula if it has one; an input that is not stored is
    /// computed by its formula. The caller owns the tensor.
    /// </summary>
    public Tensor Input(string name, Comparison check)
    {
        Tensor? stored = _inputs?.Tensors.ContainsKey(name) == true ? _inputs.ReadTensor(name) : null;
        Tensor? computed = null;
        if (Json.TryGetProperty("inputs", out JsonElement inputs) && inputs.TryGetProperty(name, out JsonElement rule)
            && rule.TryGetProperty("formula_name", out JsonElement formula))
        {
            long[] shape = [.. rule.Member("shape").EnumerateArray().Select(n => n.GetInt64())];
            computed = empty(shape);
            FormulaWeights.Fill(
                computed, formula.GetString()!, rule.Member("center").GetDouble(), rule.Member("scale").GetDouble());
        }

        if (stored is not null && computed is not null)
        {
            check.Equal(
                $"input {name} by its formula", computed.data<float>().ToArray(), stored.data<float>().ToArray());
            computed.Dispose();
        }

        return stored ?? computed
            ?? throw new RefusedFileException(Path, $"input {name}", "is neither stored nor computed.");
    }

    /// <summary>Reads an expected tensor, which the caller owns.</summary>
    public Tensor Expected(string name) => _expected?.Tensors.ContainsKey(name) == true
        ? _expected.ReadTensor(name)
        : throw new RefusedFileException(
            System.IO.Path.Combine(Path, "expected.safetensors"), name, "is not in the file.");

    /// <summary>A tensor as float64 numbers in row-major order.</summary>
    public static double[] Numbers(Tensor tensor)
    {
        using Tensor flat = tensor.detach().cpu().to(ScalarType.Float64).contiguous();
        return MemoryMarshal.Cast<byte, double>(flat.bytes).ToArray();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _document.Dispose();
        _inputs?.Dispose();
        _expected?.Dispose();
    }

    private SafeTensorsFile? OpenIfExists(string name)
    {
        string file = System.IO.Path.Combine(Path, name);
        return File.Exists(file) ? SafeTensorsFile.Open(file) : null;
    }
}
