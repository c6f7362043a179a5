// Goal: a pickle is data. Sharing, cycles, depth and false claims in it cost bounded work and never run anything.
using System.Text;
using Atelier.Model.Weights;
using Xunit;

namespace Atelier.Model.Tests.Weights;

public sealed class TorchCheckpointTests
{
    [Theory]
    [InlineData("evil_os_system.pt", "posix.system")]
    [InlineData("evil_os_system_protocol4.pt", "posix.system")]
    [InlineData("evil_build.pt", "posix.system")]
    [InlineData("evil_legacy.pt", "posix.system")]
    [InlineData("evil_eval.pt", "eval")]
    [InlineData("evil_bare_pickle.pt", "is not safetensors")]
    public void NamedCallable_IsRefusedByItsName(string file, string name)
    {
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFile.Open(WeightFiles.Vector(file)));
        Assert.Contains(name, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TrainingCheckpoint_GivesTheModelsStateDict()
    {
        using var model = WeightFile.Open(WeightFiles.Vector("composer_nested.pt")).FindModel("dit");
        Assert.Equal(
            ["blocks.0.attn.qkv.weight", "blocks.0.mlp.w1", "blocks.1.norm1.weight", "final_layer.linear.bias",
             "pos_embed", "x_embedder.proj.weight"], model.Tensors.Keys.Order(StringComparer.Ordinal));
        using var expected = SafeTensorsFile.Open(WeightFiles.Vector("composer_nested.expected.safetensors"));
        Assert.Equal(expected.ReadAll("state.model.dit.blocks.0.mlp.w1"), model.ReadAll("blocks.0.mlp.w1"));
    }

    [Theory]
    [InlineData("vae", "encoder.conv_in.weight")]
    [InlineData("text_encoder.encoder.clip_model", "ln_final.weight")]
    public void TrainingCheckpoint_GivesItsOtherParts(string component, string name)
    {
        using var part = WeightFile.Open(WeightFiles.Vector("composer_nested.pt")).FindModel(component);
        Assert.Equal([name], part.Tensors.Keys);
    }

    [Theory]
    [InlineData("module.")]
    [InlineData("_orig_mod.")]
    [InlineData("module._orig_mod.")]
    [InlineData("_orig_mod.module.")]
    [InlineData("state_dict.module.")]
    [InlineData("module.dit.")]
    [InlineData("state.model.module.dit._orig_mod.")]
    [InlineData("model._orig_mod.module.")]
    public void PrefixesOfWrappers_AreRemoved_IfAllNamesHaveThem(string prefix)
    {
        using var folder = new TemporaryFolder();
        WeightFiles.Write(folder["a"], Bytes($"{prefix}blocks.0.weight", 1), Bytes($"{prefix}module.weight", 2));
        using (var model = WeightFile.Open(folder["a"]).FindModel("dit"))
        {
            Assert.Equal(["blocks.0.weight", "module.weight"], model.Tensors.Keys.Order(StringComparer.Ordinal));
            Assert.Equal([2], model.ReadAll("module.weight"));
        }

        // One name without the prefix shows that it is not a prefix.
        WeightFiles.Write(folder["b"], Bytes("module.weight", 1), Bytes("bias", 2));
        using var mixed = WeightFile.Open(folder["b"]).FindModel("dit");
        Assert.Equal(["bias", "module.weight"], mixed.Tensors.Keys.Order(StringComparer.Ordinal));

        static (string, ElementType, long[], byte[]) Bytes(string name, byte value) =>
            (name, ElementType.UInt8, [1], [value]);
    }

    [Fact]
    public void BareStateDict_IsItsOwnModel()
    {
        using var model = WeightFile.Open(WeightFiles.Vector("module_state_dict.pt")).FindModel("dit");
        Assert.Contains("blocks.0.weight", model.Tensors.Keys);
    }

    [Theory]
    [InlineData("plain_dict.pt")]
    [InlineData("legacy.pt")]
    public void StridedView_ReadsAlike_InPieces(string file)
    {
        using var source = WeightFile.Open(WeightFiles.Vector(file));
        foreach (var (name, info) in source.Tensors)
        {
            var whole = source.ReadAll(name);
            var piece = new byte[info.Type.Size()];
            for (var start = whole.Length - piece.Length; start >= 0; start -= piece.Length)
            {
                source.Read(name, start, piece);
                Assert.Equal(whole[start..(start + piece.Length)], piece);
            }
        }
    }

    [Fact]
    public void TensorInsideItself_IsListedOnce()
    {
        // d = {"w": tensor}; d["d"] = d
        using var source = WeightFiles.OpenBytes(WeightFiles.TorchZip(
            Pickle("}q\0(U\x1w", TensorOf(2), "U\x1" + "dh\0u."), ("data/0", [1, 2])));
        Assert.Equal(["w"], source.Tensors.Keys);
        Assert.Equal([1, 2], source.ReadAll("w"));
    }

    [Fact]
    public void SharedContainers_ThatMultiplyWithoutEnd_AreRefused()
    {
        // Each list contains the previous one eight times: 8^30 paths from a few hundred bytes.
        var pickle = new StringBuilder("]q\0");
        for (var level = 0; level < 30; level++)
        {
            pickle.Append("](").Insert(pickle.Length, "h\0", 8).Append("eq\0");
        }

        // The inner lists stay on the stack; one tuple takes them all.
        var bytes = WeightFiles.TorchZip(Pickle("(", pickle.ToString(), "t."));
        Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(bytes));
    }

    [Fact]
    public void NestingWithoutEnd_NeedsNoStack()
    {
        var pickle = Pickle(new string(']', 900_000), new string('a', 899_999), ".");
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(WeightFiles.TorchZip(pickle)));
        Assert.Contains("nested deeper", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TensorThatRepeatsItsStorageToGigabytes_IsRefused()
    {
        var pickle = Pickle(TensorOf(2, size: "J\0\0\0\x40", stride: "K\0"), ".");
        var refusal = Assert.Throws<RefusedFileException>(
            () => WeightFiles.OpenBytes(WeightFiles.TorchZip(pickle, ("data/0", [1, 2]))));
        Assert.Contains("repeats", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Records_BeyondFourGigabytes_AreReachedThroughThe64BitDirectory()
    {
        using var folder = new TemporaryFolder();
        using (var stream = File.Create(folder["a"]))
        {
            WeightFiles.WriteTorchZip64(
                stream, hole: 3L << 30, ("version", [3]), ("data.pkl", Pickle(TensorOf(2), ".")), ("data/0", [1, 2]));
        }

        using var source = WeightFile.Open(folder["a"]);
        Assert.Equal([1, 2], source.ReadAll(""));
    }

    [Fact]
    public void Damaged64BitDirectory_IsRefused()
    {
        using var stream = new MemoryStream();
        WeightFiles.WriteTorchZip64(stream, hole: 0, ("data.pkl", Pickle(TensorOf(2), ".")), ("data/0", [1, 2]));
        var sound = stream.ToArray();
        using (var source = WeightFiles.OpenBytes(sound))
        {
            Assert.Equal([1, 2], source.ReadAll(""));
        }

        // Everything from the directory on: sizes, places and counts, one byte at a time.
        var start = sound.AsSpan().IndexOf("PK\x1\x2"u8);
        for (var at = start; at < sound.Length; at++)
        {
            foreach (var mask in (byte[])[0x80, 0xff])
            {
                var damaged = sound.ToArray();
                damaged[at] ^= mask;
                var error = Record.Exception(() => WeightFiles.OpenBytes(damaged).Dispose());
                Assert.True(error is null or RefusedFileException, $"byte {at}: {error}");
            }
        }
    }

    [Theory]
    [InlineData(18, 0xea, "does not have version")]       // 1002
    [InlineData(73, 0x89, "little-endian")]         // False
    [InlineData(2441, 5, "does not begin")]         // the first storage's count, 4
    [InlineData(2448, 0x80, "does not begin")]      // its highest byte
    [InlineData(2142, 0x30, "an unused one")]        // a listed key
    public void InvalidLegacyCheckpoint_IsRefusedWithTheReason(int at, int value, string reason)
    {
        var bytes = WeightFiles.VectorBytes("legacy.pt");
        bytes[at] = (byte)value;
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(bytes));
        Assert.Contains(reason, refusal.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void LegacyCheckpoint_WithTrailingBytes_IsRefused()
    {
        byte[] bytes = [.. WeightFiles.VectorBytes("legacy.pt"), 0];
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(bytes));
        Assert.Contains("1 bytes follow", refusal.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void TwoTensors_WithOneName_AreRefused()
    {
        var pickle = Pickle("}(K\0", TensorOf(2), "U\x1" + "0", TensorOf(2), "u.");
        var refusal = Assert.Throws<RefusedFileException>(
            () => WeightFiles.OpenBytes(WeightFiles.TorchZip(pickle, ("data/0", [1, 2]))));
        Assert.Contains("occurs twice", refusal.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Storage_WithTwoSizes_IsRefused()
    {
        var pickle = Pickle("(", TensorOf(2), TensorOf(3), "t.");
        var refusal = Assert.Throws<RefusedFileException>(
            () => WeightFiles.OpenBytes(WeightFiles.TorchZip(pickle, ("data/0", [1, 2]))));
        Assert.Contains("two types or two sizes", refusal.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void RecordHeader_ThatContradictsTheDirectory_IsRefused()
    {
        var bytes = WeightFiles.VectorBytes("plain_dict.pt");
        bytes[bytes.AsSpan().IndexOf("plain_dict/data/3"u8)] ^= 1;
        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(bytes));
        Assert.Equal("record plain_dict/data/3", refusal.Place);
    }

    [Fact]
    public void CompressedRecord_IsRefusedWithTheCure()
    {
        using var buffer = new MemoryStream();
        using (var zip = new System.IO.Compression.ZipArchive(buffer, System.IO.Compression.ZipArchiveMode.Create))
        {
            using var stream = zip.CreateEntry("archive/data.pkl").Open();
            stream.Write(Pickle(new string('N', 1000)));
        }

        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(buffer.ToArray()));
        Assert.Contains("without compression", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("N0N.", null)]                              // POP
    [InlineData("(NN1N.", null)]                            // POP_MARK
    [InlineData("N2\x86.", null)]                           // DUP
    [InlineData("(NNl.", null)]                             // LIST
    [InlineData("(U\x1" + "aNd.", null)]                    // DICT
    [InlineData("(U\x1" + "ad.", "cannot take")]            // DICT with a key and no value
    [InlineData("NNa.", "cannot take")]
    [InlineData("NN.", "2 values")]
    [InlineData("(N.", "1 values")]
    [InlineData("(0N.", "taken from a stack of 0")]
    [InlineData("t.", "mark")]
    [InlineData("N)R.", "other than a known global")]
    [InlineData("ctorch\nFloatStorage\n)R.", "torch.FloatStorage is called")]
    [InlineData("cnumpy\nndarray\n)R.", "numpy.ndarray is called")]
    [InlineData("ctorch\nload\n.", "torch.load")]
    [InlineData("NQ.", "persistent id")]
    [InlineData("N}b.", "state is set")]
    [InlineData("\x93.", "taken from")]
    [InlineData("NN\x93.", "is not a string")]
    [InlineData("\x80\x06N.", "protocol 6")]
    [InlineData("X\x2\0\0\0\xff\xfe.", "not UTF-8")]
    [InlineData("\x8a\x9\0\0\0\0\0\0\0\0\x1.", null)]       // 2^64
    [InlineData("I7\n.", "opcode 0x49")]
    public void Opcode_DoesWhatItShould(string pickle, string? reason)
    {
        var bytes = WeightFiles.TorchZip(Pickle(pickle));
        if (reason is null)
        {
            using var source = WeightFiles.OpenBytes(bytes);
            Assert.Empty(source.Tensors);
            return;
        }

        var refusal = Assert.Throws<RefusedFileException>(() => WeightFiles.OpenBytes(bytes));
        Assert.StartsWith("data.pkl byte ", refusal.Place, StringComparison.Ordinal);
        Assert.Contains(reason, refusal.Reason, StringComparison.Ordinal);
    }

    // _rebuild_tensor_v2 of a byte storage "0"; sizes and strides are opcodes.
    private static string TensorOf(char count, string size = "K\x2", string stride = "K\x1") =>
        "ctorch._utils\n_rebuild_tensor_v2\n((U\x7storagectorch\nByteStorage\nU\x1" + "0U\x3" + "cpuK" + count
        + "tQK\0" + size + "\x85" + stride + "\x85\x89}tR";

    private static string TensorOf(int count, string size = "K\x2", string stride = "K\x1") =>
        TensorOf((char)count, size, stride);

    private static byte[] Pickle(params string[] parts) => Encoding.Latin1.GetBytes("\x80\x2" + string.Concat(parts));
}
