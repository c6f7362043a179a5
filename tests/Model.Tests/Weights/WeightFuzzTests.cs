// Goal: whatever the damage to a file, a reader can only fail by rejecting it, and allocates no more than the file
// justifies. Method: seeded damage to sound files, opened and read in memory. A failure prints the case number, which
// replays it.
using Atelier.Model.Weights;
using Xunit;

namespace Atelier.Model.Tests.Weights;

public sealed class WeightFuzzTests
{
    private const int Cases = 10_000;
    private const int Seed = 20_240_607;
    private const long AllocatedBytesMax = 4 << 20;

    [Fact]
    public void DamagedSafeTensors_AreReadOrRefused() =>
        Attack(["mixed.safetensors", "order_and_spaces.safetensors", "bad_gap.safetensors"], Open);

    [Fact]
    public void DamagedTorchZips_AreReadOrRefused() => Attack(
        ["plain_dict.pt", "plain_dict_protocol4.pt", "handmade_ok.pt", "module_state_dict.pt", "list_nested.pt"], Open);

    [Fact]
    public void DamagedPickles_InSoundZips_AreReadOrRefused()
    {
        byte[][] pickles = [.. new[] { "handmade_ok.pt", "tensor_alone.pt", "list_nested.pt" }.Select(PickleOf)];
        Attack(pickles, pickle => Open(WeightFiles.TorchZip(
            pickle, ("data/0", new byte[48]), ("data/1", new byte[48]), ("data/2", new byte[24]))));
    }

    [Fact]
    public void DamagedLegacyCheckpoints_AreReadOrRefused() => Attack(["legacy.pt", "evil_legacy.pt"], Open);

    [Fact]
    public void DamagedIndexes_AreReadOrRefused()
    {
        using var folder = new TemporaryFolder();
        WeightFiles.Write(folder["1.safetensors"], ("a", ElementType.UInt8, [2], [1, 2]));
        WeightFiles.Write(folder["2.safetensors"], ("b", ElementType.UInt8, [1], [3]));
        var index = """{"metadata":{"n":[1,{}]},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"""u8.ToArray();
        Attack([index], bytes => ReadSome(WeightFile.Open(new ByteSource(folder["index.json"], bytes))));
    }

    private static void Attack(string[] files, Action<byte[]> read) =>
        Attack([.. files.Select(WeightFiles.VectorBytes)], read);

    private static void Attack(byte[][] sound, Action<byte[]> read)
    {
        var refused = 0;
        for (var number = 0; number < Cases; number++)
        {
            var bytes = Damage(sound[number % sound.Length], new Random(Seed + number));
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                read(bytes);
            }
            catch (RefusedFileException)
            {
                refused++;
            }
            catch (Exception e)
            {
                Assert.Fail($"case {number}: {e}");
            }

            var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(allocated < AllocatedBytesMax, $"case {number}: {allocated} bytes were allocated");
        }

        // Damage that is never noticed, or always before the interesting part, would test nothing.
        Assert.InRange(refused, Cases / 20, Cases - 1);
    }

    private static void Open(byte[] bytes) => ReadSome(WeightFiles.OpenBytes(bytes));

    private static void ReadSome(IWeightSource source)
    {
        using (source)
        {
            var buffer = new byte[4096];
            foreach (var (name, info) in source.Tensors)
            {
                var length = (int)Math.Min(info.ByteLength, buffer.Length);
                source.Read(name, 0, buffer.AsSpan(0, length));
                source.Read(name, info.ByteLength - length, buffer.AsSpan(0, length));
            }
        }
    }

    /// <summary>
    /// One to four kinds of damage: flipped bits, set bytes, cuts, insertions, absurd lengths, copied ranges.
    /// </summary>
    private static byte[] Damage(byte[] sound, Random random)
    {
        var bytes = sound.ToList();
        for (var wounds = random.Next(1, 5); wounds > 0 && bytes.Count > 8; wounds--)
        {
            var at = random.Next(bytes.Count);
            var length = random.Next(1, Math.Min(16, bytes.Count - at) + 1);
            switch (random.Next(8))
            {
                case 0 or 1: bytes[at] ^= (byte)(1 << random.Next(8)); break;
                case 2: bytes[at] = (byte)random.Next(256); break;
                case 3: bytes.RemoveRange(at, length); break;
                case 4: bytes.InsertRange(at, bytes.GetRange(random.Next(bytes.Count - length), length)); break;
                case 5: Overwrite(bytes, at, Extreme(random)); break;
                case 6: Overwrite(bytes, at, [.. bytes.GetRange(random.Next(bytes.Count - length), length)]); break;
                default: bytes.RemoveRange(at, random.Next(20) == 0 ? bytes.Count - at : 1); break;
            }
        }

        return [.. bytes];
    }

    private static byte[] Extreme(Random random) => random.Next(6) switch
    {
        0 => BitConverter.GetBytes(-1),
        1 => BitConverter.GetBytes(int.MaxValue),
        2 => BitConverter.GetBytes(long.MaxValue),
        3 => BitConverter.GetBytes(long.MinValue),
        4 => BitConverter.GetBytes(1L << 40),
        _ => BitConverter.GetBytes(random.Next(100_000)),
    };

    private static void Overwrite(List<byte> bytes, int at, byte[] with)
    {
        for (var i = 0; i < with.Length && at + i < bytes.Count; i++)
        {
            bytes[at + i] = with[i];
        }
    }

    private static byte[] PickleOf(string file)
    {
        using var zip = System.IO.Compression.ZipFile.OpenRead(WeightFiles.Vector(file));
        using var stream = zip.Entries.Single(entry => entry.Name == "data.pkl").Open();
        using var buffer = new MemoryStream();
        stream.CopyTo(buffer);
        return buffer.ToArray();
    }
}
