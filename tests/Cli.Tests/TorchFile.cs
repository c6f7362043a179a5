// Writes PyTorch checkpoints: a zip with a pickle and the tensors' bytes, just enough of the format for tests.
using System.IO.Compression;
using System.Text;
using Atelier.Model.Weights;

namespace Atelier.Cli.Tests;

internal static class TorchFile
{
    /// <summary>A checkpoint as a trainer saves it: the tensors in nested dictionaries under the given keys.</summary>
    public static void Write(string path, string[] nest, IEnumerable<(TensorInfo Info, byte[] Bytes)> tensors)
    {
        (TensorInfo Info, byte[] Bytes)[] all = [.. tensors];
        using var zip = new ZipArchive(File.Create(path), ZipArchiveMode.Create);
        Add(zip, "archive/data.pkl", Pickle(nest, [.. all.Select(tensor => tensor.Info)]));
        for (int i = 0; i < all.Length; i++)
        {
            Add(zip, $"archive/data/{i}", all[i].Bytes);
        }
    }

    // Protocol 2; the letters are the pickle opcodes.
    private static byte[] Pickle(string[] nest, TensorInfo[] tensors)
    {
        using var pickle = new MemoryStream();
        pickle.Write([0x80, 2]);
        foreach (string key in nest)
        {
            Put("}");
            Text(key);
        }

        Put("}(");
        for (int i = 0; i < tensors.Length; i++)
        {
            Text(tensors[i].Name);
            Put("ctorch._utils\n_rebuild_tensor_v2\n((");
            Text("storage");
            Put("ctorch\nFloatStorage\n");
            Text($"{i}");
            Text("cpu");
            Number(tensors[i].ElementCount);
            Put("tQK\0(");
            Array.ForEach(tensors[i].Shape, Number);
            Put("t(");
            for (int d = 0; d < tensors[i].Shape.Length; d++)
            {
                Number(tensors[i].Shape[(d + 1)..].Aggregate(1L, (product, n) => product * n));
            }

            Put("t\u0089ccollections\nOrderedDict\n)RtR");
        }

        Put("u" + new string('s', nest.Length) + ".");
        return pickle.ToArray();

        void Put(string latin) => pickle.Write(Encoding.Latin1.GetBytes(latin));

        void Text(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            Put("X");
            pickle.Write([.. BitConverter.GetBytes(bytes.Length), .. bytes]);
        }

        void Number(long value)
        {
            Put("J");
            pickle.Write(BitConverter.GetBytes(checked((int)value)));
        }
    }

    private static void Add(ZipArchive zip, string name, byte[] bytes)
    {
        using Stream stream = zip.CreateEntry(name, CompressionLevel.NoCompression).Open();
        stream.Write(bytes);
    }
}
