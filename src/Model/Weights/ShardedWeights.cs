// A reader of models that are split over several files, as Hugging Face publishes large ones: a JSON index maps each
// tensor to a file beside it.
using System.Text.Json;
using System.Text.Unicode;

namespace Atelier.Model.Weights;

/// <summary>A sharded model: an index file and the weight files that it lists, all in one folder.</summary>
public sealed class ShardedWeights : IWeightSource
{
    private const long MaxIndexBytes = 64 << 20;
    private const int MaxShards = 1024;
    private const int MaxDepth = 8;

    private readonly Dictionary<string, IWeightSource> _shards = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _shardOf;
    private readonly Dictionary<string, TensorInfo> _tensors = new(StringComparer.Ordinal);

    internal ShardedWeights(ByteSource index)
    {
        Path = index.Path;
        _shardOf = Parse(index);
        try
        {
            OpenShards(index);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public string Path { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    /// <summary>Paths of the shards, in ordinal order.</summary>
    public IEnumerable<string> ShardPaths => _shards.Values.Select(shard => shard.Path).Order(StringComparer.Ordinal);

    /// <summary>Opens an index and all its shards. Tensors of a shard that are not in the index are ignored.</summary>
    /// <exception cref="RefusedFileException">
    /// The index or a shard is damaged or missing, a shard lacks a tensor, or the path of a shard leads out of the
    /// folder.
    /// </exception>
    public static ShardedWeights Open(string path) => ByteSource.Open(path, index =>
    {
        using (index)
        {
            return new ShardedWeights(index);
        }
    });

    /// <inheritdoc/>
    public void Read(string name, long start, Span<byte> destination)
    {
        this.Require(name, start, destination.Length);
        _shards[_shardOf[name]].Read(name, start, destination);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var shard in _shards.Values)
        {
            shard.Dispose();
        }
    }

    private static Dictionary<string, string> Parse(ByteSource index)
    {
        if (index.Length > MaxIndexBytes)
        {
            throw index.Refuse("index", $"has {index.Length} bytes; at most {MaxIndexBytes} are allowed");
        }

        var json = index.ReadArray(0, index.Length, "index");
        if (!Utf8.IsValid(json))
        {
            throw index.Refuse("index", "is not UTF-8");
        }

        try
        {
            return ParseIndex(index, json) ?? throw index.Refuse("index", "has no \"weight_map\"");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // An escaped unpaired surrogate causes an InvalidOperationException.
            throw index.Refuse("index", "is not valid JSON", e);
        }
    }

    private static Dictionary<string, string>? ParseIndex(ByteSource index, ReadOnlySpan<byte> json)
    {
        Dictionary<string, string>? map = null;
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw index.Refuse("index", "is not a JSON object");
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (!reader.ValueTextEquals("weight_map"))
            {
                reader.Skip();
            }
            else if (map is not null)
            {
                throw index.Refuse("weight_map", "occurs twice");
            }
            else
            {
                reader.Read();
                map = ParseMap(index, ref reader);
            }
        }

        // Only white space may follow; anything else is a JsonException.
        reader.Read();
        return map;
    }

    private static Dictionary<string, string> ParseMap(ByteSource index, ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw index.Refuse("weight_map", "is not an object");
        }

        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (!reader.Read() || reader.TokenType != JsonTokenType.String)
            {
                throw index.Refuse($"tensor \"{name}\"", "its shard is not a string");
            }

            var file = reader.GetString()!;
            if (!IsPlainFileName(file))
            {
                throw index.Refuse(
                    $"tensor \"{name}\"", $"its shard \"{file}\" is not a plain file name");
            }

            if (!map.TryAdd(name, file))
            {
                throw index.Refuse($"tensor \"{name}\"", "occurs twice");
            }
        }

        return map;
    }

    private static bool IsPlainFileName(string file) =>
        file is not ("" or "." or "..") && !file.AsSpan().ContainsAny('/', '\\', ':') && !file.Any(char.IsControl);

    private void OpenShards(ByteSource index)
    {
        var folder = System.IO.Path.GetDirectoryName(Path) ?? "";
        foreach (var (name, file) in _shardOf)
        {
            if (!_shards.TryGetValue(file, out var shard))
            {
                if (_shards.Count == MaxShards)
                {
                    throw index.Refuse("weight_map", $"lists more than {MaxShards} shards");
                }

                shard = OpenShard(index, name, System.IO.Path.Combine(folder, file));
                _shards.Add(file, shard);
            }

            _tensors.Add(name, shard.Tensors.GetValueOrDefault(name)
                ?? throw index.Refuse($"tensor \"{name}\"", $"the shard \"{file}\" does not contain it"));
        }
    }

    private static IWeightSource OpenShard(ByteSource index, string name, string path)
    {
        if (!File.Exists(path))
        {
            throw index.Refuse($"tensor \"{name}\"", $"its shard \"{path}\" is missing");
        }

        return WeightFile.OpenSingle(path);
    }
}
