// A reader of safetensors files (https://github.com/huggingface/safetensors, section "Format").
namespace Atelier.Model.Weights;

/// <summary>An open safetensors file.</summary>
public sealed class SafeTensorsFile : IWeightSource
{
    private readonly ByteSource _source;
    private readonly SafeTensorsHeader _header;

    internal SafeTensorsFile(ByteSource source)
    {
        _source = source;
        _header = new SafeTensorsHeader(source);
    }

    /// <inheritdoc/>
    public string Path => _source.Path;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _header.Tensors;

    /// <summary>The strings under "__metadata__"; empty if there are none.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _header.Metadata;

    /// <summary>Opens a file and checks its header and the extent of its data.</summary>
    /// <exception cref="RefusedFileException">The file is damaged or holds an unsupported type.</exception>
    public static SafeTensorsFile Open(string path) =>
        ByteSource.Open(path, source => new SafeTensorsFile(source));

    /// <inheritdoc/>
    public void Read(string name, long start, Span<byte> destination)
    {
        this.Require(name, start, destination.Length);
        _source.Read(_header.Starts[name] + start, destination, $"tensor \"{name}\"");
    }

    /// <inheritdoc/>
    public void Dispose() => _source.Dispose();
}
