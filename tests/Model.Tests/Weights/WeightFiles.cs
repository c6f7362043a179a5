// Helpers for the tests in this folder: the location of the vectors, small files made on the fly, and a temporary
// folder.
using System.Text;
using Atelier.Model.Weights;

namespace Atelier.Model.Tests.Weights;

internal static class WeightFiles
{
    public static string Vector(string file) => ReferenceData.At("checkpoint", file);

    public static byte[] VectorBytes(string file) => File.ReadAllBytes(Vector(file));

    /// <summary>A safetensors file with the given header text and count of data bytes.</summary>
    public static byte[] SafeTensors(string header, int dataBytes)
    {
        var json = Encoding.UTF8.GetBytes(header);
        var data = Enumerable.Range(0, dataBytes).Select(i => (byte)i);
        return [.. BitConverter.GetBytes((long)json.Length), .. json, .. data];
    }

    /// <summary>A zip checkpoint as torch writes it, with a pickle and records that are given as bytes.</summary>
    public static byte[] TorchZip(byte[] pickle, params (string Name, byte[] Bytes)[] records)
    {
        using var buffer = new MemoryStream();
        using (var zip = new System.IO.Compression.ZipArchive(buffer, System.IO.Compression.ZipArchiveMode.Create))
        {
            foreach (var (name, bytes) in records.Prepend(("data.pkl", pickle)))
            {
                var entry = zip.CreateEntry($"archive/{name}", System.IO.Compression.CompressionLevel.NoCompression);
                using var stream = entry.Open();
                stream.Write(bytes);
            }
        }

        return buffer.ToArray();
    }

    /// <summary>Writes a zip checkpoint with 64-bit sizes in its directory and a hole after each record.</summary>
    public static void WriteTorchZip64(Stream stream, long hole, params (string Name, byte[] Bytes)[] records)
    {
        using var directory = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        using var entry = new BinaryWriter(directory);
        foreach (var (name, bytes) in records)
        {
            var path = Encoding.UTF8.GetBytes($"archive/{name}");
            var start = stream.Position;
            writer.Write([.. "PK\x3\x4"u8, .. new byte[22], (byte)path.Length, .. new byte[3], .. path, .. bytes]);
            entry.Write([.. "PK\x1\x2"u8, .. new byte[16], .. BitConverter.GetBytes(-1L), (byte)path.Length, 0, 28, 0]);
            entry.Write([.. new byte[10], .. BitConverter.GetBytes(-1), .. path, 1, 0, 24, 0]);
            entry.Write([.. BitConverter.GetBytes((long)bytes.Length), .. BitConverter.GetBytes((long)bytes.Length)]);
            entry.Write(start);
            stream.Position += hole;
        }

        var directoryStart = stream.Position;
        writer.Write(directory.ToArray());
        var endStart = stream.Position;
        writer.Write([.. "PK\x6\x6"u8, .. new byte[28], .. BitConverter.GetBytes((long)records.Length)]);
        writer.Write([.. BitConverter.GetBytes(directory.Length), .. BitConverter.GetBytes(directoryStart)]);
        writer.Write([.. "PK\x6\x7"u8, .. new byte[4], .. BitConverter.GetBytes(endStart), 1, 0, 0, 0]);
        writer.Write([.. "PK\x5\x6"u8, .. new byte[4], .. Enumerable.Repeat((byte)0xff, 12), 0, 0]);
    }

    public static IWeightSource OpenBytes(byte[] bytes) => WeightFile.Open(new ByteSource("x", bytes));

    public static byte[] ReadAll(this IWeightSource source, string name)
    {
        var bytes = new byte[source.Tensors[name].ByteLength];
        source.ReadInto(name, bytes);
        return bytes;
    }

    public static void Write(string path, params (string Name, ElementType Type, long[] Shape, byte[] Bytes)[] tensors)
    {
        using var writer = new SafeTensorsWriter(path, tensors.Select(t => new TensorInfo(t.Name, t.Type, t.Shape)));
        foreach (var info in writer.Order)
        {
            writer.Append(info.Name, tensors.Single(t => t.Name == info.Name).Bytes);
        }

        writer.Commit();
    }
}
