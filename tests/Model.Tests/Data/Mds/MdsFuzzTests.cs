// Goal: no file, however damaged, crashes a reader or makes it reserve memory that the file does not back. Method:
// seeded random damage to the reference's data sets; the only acceptable failure is a rejection.
using System.Globalization;
using System.Text;
using Atelier.Model.Data.Mds;
using Xunit;

namespace Atelier.Model.Tests.Data.Mds;

public sealed class MdsFuzzTests
{
    private const int Rounds = 1000;

    // A picture's header may claim up to ImageCodec.PixelsMax pixels before its data turn out to be too short.
    private const long AllocatedBytesMax = 512L << 20;

    private static readonly MdsReadOptions Trusting = new() { VerifyHashes = false };

    [Theory]
    [InlineData("all_types", "index.json")]
    [InlineData("all_types", "shard.00000.mds")]
    [InlineData("all_types", "shard.00003.mds")]
    [InlineData("captioned_images_plain", "shard.00004.mds")]
    [InlineData("merged", "index.json")]
    [InlineData("compressed_zstd", "index.json")]
    [InlineData("compressed_zstd", "shard.00001.mds.zstd")]
    [InlineData("compressed_gz", "shard.00001.mds.gz")]
    [InlineData("compressed_bz2", "shard.00001.mds.bz2")]
    [InlineData("compressed_br", "shard.00001.mds.br")]
    [InlineData("captioned_images_plain", "index.json", true)]
    [InlineData("captioned_images_plain", "shard.00001.mds.snappy", true)]
    public void AnyDamage_IsRefusedOrSurvived(string set, string name, bool isSnappy = false)
    {
        int refused = Damage(set, name, Enumerable.Range(0, Rounds), isSnappy);
        Assert.InRange(refused, Rounds / 10, Rounds);
    }

    [Fact]
    public void NullReferenceInsideTheBzip2Decoder_IsARefusal() =>
        Assert.Equal(1, Damage("compressed_bz2", "shard.00001.mds.bz2", [1223]));

    // Number of damaged files that are rejected.
    private static int Damage(string set, string name, IEnumerable<int> seeds, bool isSnappy = false)
    {
        using var copy = isSnappy ? MdsVectors.Snappy(set) : MdsVectors.Copy(set);
        string file = copy[name];
        byte[] intact = File.ReadAllBytes(file);
        int shard = name == MdsIndex.FileName ? 0 : int.Parse(name[6..11], CultureInfo.InvariantCulture);
        int refused = 0;
        foreach (int seed in seeds)
        {
            var random = new Random(seed);
            File.WriteAllBytes(file, Mutate(intact, name.EndsWith("json", StringComparison.Ordinal), random));
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                ReadSome(copy.Path, shard, random);
            }
            catch (RefusedFileException)
            {
                refused++;
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{set}/{name} seed {seed}", e);
            }

            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, AllocatedBytesMax);
        }

        return refused;
    }

    // Two samples, starting at the damaged shard.
    private static void ReadSome(string directory, int shard, Random random)
    {
        using var dataset = new MdsDataset(directory, Trusting);
        long first = dataset.Index.Shards.Take(shard).Sum(s => (long)s.Samples);
        for (int i = 0; i < 2 && first + i < dataset.Count; i++)
        {
            var sample = dataset[random.NextInt64(first, Math.Min(dataset.Count, first + 4))];
            foreach (var column in sample.Columns)
            {
                sample.Value(column.Name);
            }
        }
    }

    // One to four changes; the length mostly stays the same, because a different length is rejected at once.
    private static byte[] Mutate(byte[] intact, bool text, Random random)
    {
        var bytes = intact.ToList();
        for (int changes = random.Next(1, 5); changes > 0 && bytes.Count > 8; changes--)
        {
            int at = random.Next(2) == 0 ? random.Next(Math.Min(bytes.Count, 1000)) : random.Next(bytes.Count);
            switch (random.Next(text ? 6 : 5))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    int from = random.Next(bytes.Count);
                    int length = Math.Min(random.Next(64), bytes.Count - Math.Max(from, at));
                    bytes.GetRange(from, length).Index().ToList().ForEach(b => bytes[at + b.Index] = b.Item);
                    break;
                case 3:
                    uint[] numbers = [0, 1, 255, 65536, int.MaxValue, uint.MaxValue, (uint)bytes.Count, (uint)at];
                    var number = BitConverter.GetBytes(numbers[random.Next(numbers.Length)]);
                    int word = Math.Min(at & ~3, bytes.Count - 4);
                    number.Index().ToList().ForEach(b => bytes[word + b.Index] = b.Item);
                    break;
                case 4 when random.Next(8) == 0:
                    bytes.RemoveRange(at, Math.Min(random.Next(1, 16), bytes.Count - at));
                    break;
                case 5:
                    ReplaceNumber(bytes, at, random);
                    break;
            }
        }

        return [.. bytes];
    }

    // Puts another number or word in place of a number in the JSON.
    private static void ReplaceNumber(List<byte> bytes, int at, Random random)
    {
        int start = bytes.FindIndex(at, b => char.IsAsciiDigit((char)b));
        if (start < 0)
        {
            return;
        }

        int end = bytes.FindIndex(start, b => !char.IsAsciiDigit((char)b));
        string[] others = ["-1", "0", "1", "7", "4294967295", "99999999999999999999", "1e3", "null", "\"2\"", "[]",
            "{}", random.Next().ToString(CultureInfo.InvariantCulture)];
        bytes.RemoveRange(start, Math.Max(end - start, 1));
        bytes.InsertRange(start, Encoding.ASCII.GetBytes(others[random.Next(others.Length)]));
    }
}
