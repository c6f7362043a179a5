// Cases that consist of files: checkpoints, MDS data sets, and lists of a network's names and shapes.
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Atelier.Model;
using Atelier.Model.Autoencoder;
using Atelier.Model.Clip;
using Atelier.Model.Data.Mds;
using Atelier.Model.Evaluation;
using Atelier.Model.Imaging;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Cli.Verify;

/// <summary>
/// Runs the rows of <c>checkpoint/table.json</c>, the data sets of <c>mds</c> and the files of <c>keys_and_shapes</c>.
/// </summary>
internal static class FileCases
{
    /// <summary>The rows of a checkpoint table.</summary>
    public static IEnumerable<FoundCase> Checkpoints(DirectoryInfo folder, string name)
    {
        using JsonDocument table = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder.FullName, "table.json")));
        foreach (JsonElement row in table.RootElement.Member("rows").EnumerateArray())
        {
            JsonElement kept = row.Clone();
            string file = row.Member("file").GetString()!;
            yield return new FoundCase(
                $"{name}/{file}", "checkpoint", check => Checkpoint(folder.FullName, kept, check));
        }
    }

    /// <summary>A data set, whose content is described in NAME.expected.json beside it.</summary>
    public static FoundCase DataSet(DirectoryInfo folder, string expected, string name) =>
        new(name, "MDS data set", check => DataSet(folder.FullName, expected, check));

    /// <summary>
    /// The damaged data sets that a file lists; only the one in the folder <paramref name="only"/> if that is given.
    /// </summary>
    public static IEnumerable<FoundCase> Damaged(string expected, string name, string? only = null)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(expected));
        foreach (JsonElement row in document.RootElement.Member("rows").EnumerateArray())
        {
            string directory = row.Member("directory").GetString()!;
            string folder = Path.GetFullPath(directory, Path.GetDirectoryName(expected)!);
            if (only is null || folder == only)
            {
                yield return new FoundCase(
                    only is null ? $"{name}/{Path.GetFileName(directory)}" : name, "damaged MDS data set",
                    check => Damaged(folder, check));
            }
        }
    }

    /// <summary>The case of a file that lists a network's names and shapes.</summary>
    public static FoundCase Keys(FileInfo file, string name) =>
        new(name, "names and shapes", check => Keys(file.FullName, check));

    private static void Checkpoint(string folder, JsonElement row, Comparison check)
    {
        string path = Path.Combine(folder, row.Member("file").GetString()!);
        string must = row.Member("must").GetString()!;
        try
        {
            using IWeightSource source = WeightFile.Open(path);
            var values = source.Tensors.Keys.ToDictionary(
                name => name, name => Bytes(source, name), StringComparer.Ordinal);
            check.Holds("outcome", must != "refuse", "was loaded, but must be refused");
            if (must == "load")
            {
                CompareTensors(folder, row, source, values, check);
            }
        }
        catch (RefusedFileException error)
        {
            check.Holds("outcome", must != "load", $"was refused, but must load: {error.Message}");
            check.Holds(
                "error", error.Message.Contains(Path.GetFileName(path)), $"does not name the file: {error.Message}");
        }
    }

    private static void CompareTensors(
        string folder, JsonElement row, IWeightSource source, Dictionary<string, byte[]> values, Comparison check)
    {
        using SafeTensorsFile expected = SafeTensorsFile.Open(
            Path.Combine(folder, row.Member("expected").GetString()!));
        check.Equal("names", [.. values.Keys.Order(StringComparer.Ordinal)],
            [.. expected.Tensors.Keys.Order(StringComparer.Ordinal)]);
        foreach ((string name, TensorInfo info) in expected.Tensors.Where(tensor => values.ContainsKey(tensor.Key)))
        {
            check.Equal($"shape and type of \"{name}\"", [source.Tensors[name].ToString()], [info.ToString()]);
            check.Equal($"\"{name}\"", values[name], Bytes(expected, name));
        }

        if (row.TryGetProperty("scalars", out JsonElement scalars) && source is TorchCheckpoint checkpoint)
        {
            foreach (JsonProperty scalar in scalars.EnumerateObject())
            {
                string actual = checkpoint.Scalars.TryGetValue(scalar.Name, out object? value)
                    ? Convert.ToString(value, CultureInfo.InvariantCulture)! : "missing";
                bool equal = scalar.Value.ValueKind == JsonValueKind.Number
                    ? double.TryParse(actual, CultureInfo.InvariantCulture, out double number)
                        && number == scalar.Value.GetDouble()
                    : actual == scalar.Value.GetString();
                check.Holds(scalar.Name, equal, $"is {actual}, not {scalar.Value}");
            }
        }
    }

    private static byte[] Bytes(IWeightSource source, string name)
    {
        var bytes = new byte[source.Tensors[name].ByteLength];
        source.ReadInto(name, bytes);
        return bytes;
    }

    private static void DataSet(string folder, string expectedFile, Comparison check)
    {
        RequireFolder(folder);
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(expectedFile));
        JsonElement expected = document.RootElement;
        try
        {
            using var data = new MdsDataset(folder);
            check.Equal("samples", [data.Count], [expected.Member("num_samples").GetInt64()]);
            if (expected.TryGetProperty("shards", out JsonElement shards))
            {
                check.Equal(
                    "samples of the shards", [.. data.Index.Shards.Select(shard => (long)shard.Samples)],
                    [.. shards.EnumerateArray().Select(shard => shard.Member("samples").GetInt64())]);
            }

            if (expected.TryGetProperty("samples", out JsonElement samples))
            {
                CompareSamples(data, samples, check);
            }

            if (expected.TryGetProperty("captions", out JsonElement captions))
            {
                CompareLatents(data, captions, expected.Member("sha256_per_sample"), check);
            }
        }
        catch (RefusedFileException error) when (IsOptional(folder))
        {
            check.Remark = $"refused, which is allowed for optional features: {error.Message}";
            check.Holds("refusal", error.Message.Length > 0, "");
        }
    }

    private static void RequireFolder(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new DirectoryNotFoundException($"There is no data set {folder}.");
        }
    }

    // Of the optional features, the compressions bz2 and br are supported here, but lists are not.
    private static bool IsOptional(string folder)
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, MdsIndex.FileName)));
        return index.RootElement.Member("shards").EnumerateArray()
            .SelectMany(shard => shard.Member("column_encodings").EnumerateArray())
            .Any(encoding => encoding.GetString()!.StartsWith("list[", StringComparison.Ordinal));
    }

    private static void CompareSamples(MdsDataset data, JsonElement samples, Comparison check)
    {
        long index = 0;
        check.Equal("expected samples", [(long)samples.GetArrayLength()], [data.Count]);
        foreach (JsonElement expected in samples.EnumerateArray())
        {
            MdsSample sample = data[index];
            foreach (JsonProperty column in expected.EnumerateObject())
            {
                string? problem = Differs(sample, column.Name, column.Value);
                check.Holds($"sample {index}, {column.Name}", problem is null, problem ?? "");
            }

            index++;
        }
    }

    private static string? Differs(MdsSample sample, string column, JsonElement expected)
    {
        JsonProperty first = expected.EnumerateObject().First();
        object value = first.Name == "base64" ? sample.Bytes(column) : sample.Value(column);
        string text = Convert.ToString(value, CultureInfo.InvariantCulture)!;
        bool equal = first.Name switch
        {
            "text" => (value is JsonElement json ? json.GetString() : (string)value) == first.Value.GetString(),
            "integer" => text == first.Value.GetString(),
            "number" => NumberEquals(value, first.Value.GetString()!),
            "base64" => sample.Bytes(column).Span.SequenceEqual(first.Value.GetBytesFromBase64()),
            "json" => JsonElement.DeepEquals((JsonElement)value, first.Value),
            "dtype" => ArrayEquals((MdsArray)value, expected),
            "image_rgb_shape_hwc" => ImageEquals((RgbImage)value, expected, sample.Bytes(column).Span),
            _ => throw new InvalidDataException($"the expected value has the unknown form {first.Name}"),
        };
        return equal ? null : $"is {text}, not {expected.GetRawText()}";
    }

    private static bool NumberEquals(object value, string expected)
    {
        double actual = value is Half half ? (double)half : Convert.ToDouble(value, CultureInfo.InvariantCulture);
        return expected switch
        {
            "nan" => double.IsNaN(actual),
            "inf" => double.IsPositiveInfinity(actual),
            "-inf" => double.IsNegativeInfinity(actual),
            _ => BitConverter.DoubleToInt64Bits(actual)
                == BitConverter.DoubleToInt64Bits(double.Parse(expected, CultureInfo.InvariantCulture)),
        };
    }

    private static bool ArrayEquals(MdsArray array, JsonElement expected) =>
        array.Type == expected.Member("dtype").GetString()
        && array.Shape.SequenceEqual(expected.Member("shape").EnumerateArray().Select(n => n.GetInt64()))
        && array.Data.Span.SequenceEqual(expected.Member("base64").GetBytesFromBase64());

    // PNG pixels are exact. JPEG decoders may differ by a level or two, so only the means of their pixels are compared.
    private static bool ImageEquals(RgbImage image, JsonElement expected, ReadOnlySpan<byte> encoded)
    {
        int[] shape = [.. expected.Member("image_rgb_shape_hwc").EnumerateArray().Select(n => n.GetInt32())];
        if (image.Height != shape[0] || image.Width != shape[1])
        {
            return false;
        }

        if (encoded is [0x89, (byte)'P', ..])
        {
            return Convert.ToHexStringLower(SHA256.HashData(image.Pixels)) == expected.Member("rgb_sha256").GetString();
        }

        double[] means = [.. expected.Member("mean_rgb").EnumerateArray().Select(n => n.GetDouble())];
        return Enumerable.Range(0, 3).All(channel => Math.Abs(
            image.Pixels.Where((_, i) => i % 3 == channel).Average(level => level) - means[channel]) <= 1);
    }

    private static void CompareLatents(MdsDataset data, JsonElement captions, JsonElement digests, Comparison check)
    {
        long index = 0;
        check.Equal("expected captions", [(long)captions.GetArrayLength()], [data.Count]);
        check.Equal("expected digests", [(long)digests.GetArrayLength()], [data.Count]);
        foreach ((JsonElement caption, JsonElement digest) in captions.EnumerateArray().Zip(digests.EnumerateArray()))
        {
            MdsSample sample = data[index];
            check.Equal($"sample {index}, caption", [sample.Get<string>("caption")], [caption.GetString()!]);
            foreach (JsonProperty column in digest.EnumerateObject())
            {
                check.Equal(
                    $"sample {index}, {column.Name}",
                    [Convert.ToHexStringLower(SHA256.HashData(sample.Bytes(column.Name).Span))],
                    [column.Value.GetString()!]);
            }

            index++;
        }
    }

    private static void Damaged(string folder, Comparison check)
    {
        RequireFolder(folder);
        try
        {
            using var data = new MdsDataset(folder);
            for (long i = 0; i < data.Count; i++)
            {
                MdsSample sample = data[i];
                foreach (MdsColumn column in sample.Columns)
                {
                    sample.Value(column.Name);
                }
            }

            check.Fail("was read, but must be refused");
        }
        catch (RefusedFileException error)
        {
            bool named = error.File.StartsWith(folder, StringComparison.Ordinal) && error.File.Length > folder.Length;
            check.Holds("error", named, $"does not name the file: {error.Message}");
        }
    }

    private static void Keys(string path, Comparison check)
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(path));
        JsonElement json = document.RootElement;
        using nn.Module network = json.Has("architecture") ? Denoiser(json, check)
            : json.Has("config", "block_out_channels")
                ? new AutoencoderKL(AutoencoderConfig.Parse(json.Member("config"), path))
            : json.Has("config", "text_cfg") ? new ClipModel(ClipConfig.Parse(json.Member("config"), path))
            : json.Has("what") && json.Member("what").GetString()!.Contains("Inception", StringComparison.Ordinal)
                ? new FidInceptionV3()
            : throw new RefusedFileException(path, "content", "does not describe a known network.");
        if (network is FidInceptionV3)
        {
            check.Remark = "fc and num_batches_tracked are optional, as the file states";
        }

        DitCases.CheckKeys(
            network, json.Member("state_dict"), check, network is FidInceptionV3 ? OptionalInInception : null);
        if (json.TryGetProperty("total_parameters", out JsonElement total))
        {
            check.Equal("total_parameters", [network.parameters().Sum(p => p.numel())], [total.GetInt64()]);
        }

        static bool OptionalInInception(string entry) =>
            entry.StartsWith("fc.", StringComparison.Ordinal)
                || entry.Contains(".num_batches_tracked", StringComparison.Ordinal);
    }

    private static MicroDiT Denoiser(JsonElement json, Comparison check)
    {
        JsonElement arguments = json.Member("arguments");
        var network = new MicroDiT(MicroDiTConfig.Preset(
            json.Member("architecture").GetString()!,
            (int)Number("input_size", 32), (int)Number("in_channels", 4), (int)Number("caption_channels", 1024),
            Number("pos_interp_scale", 1)));
        BlockShape[] shapes = [.. network.Config.MixerBlocks(), .. network.Config.BackboneBlocks()];
        if (json.TryGetProperty("blocks", out JsonElement blocks))
        {
            check.Equal(
                "widths of the blocks",
                [
                    .. shapes.Select(s => Describe(
                        s.HasExperts, s.AttentionWidth, s.AttentionWidth / network.Config.HeadDim, s.FeedForwardWidth)),
                ],
                [
                    .. blocks.EnumerateArray().Select(b => Describe(
                        b.Member("moe").GetBoolean(), b.Member("attn_hidden").GetInt32(),
                        b.Member("attn_heads").GetInt32(), b.Member("ffn_hidden").GetInt32())),
                ]);
        }

        return network;

        static string Describe(bool experts, int attention, int heads, int hidden) =>
            $"{experts} {attention} {heads} {hidden}";

        double Number(string name, double otherwise) =>
            arguments.TryGetProperty(name, out JsonElement value) ? value.GetDouble() : otherwise;
    }
}
