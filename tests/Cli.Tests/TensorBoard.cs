// Reads event files as TensorBoard does: in order of their names, up to the first truncated record; the start of a
// session discards earlier records of that step and later ones.
using System.Buffers.Binary;
using System.Numerics;
using Tensorboard;

namespace Atelier.Cli.Tests;

/// <summary>What TensorBoard shows for a folder.</summary>
internal sealed class TensorBoard
{
    private readonly List<Event> _events = [];

    /// <summary>Number of event files read.</summary>
    public int Files { get; private init; }

    /// <summary>Events, without the discarded ones.</summary>
    public IReadOnlyList<Event> Events => _events;

    public static TensorBoard Read(string folder)
    {
        string[] files = [.. Directory.GetFiles(folder, "*tfevents*").Order(StringComparer.Ordinal)];
        var shown = new TensorBoard { Files = files.Length };
        foreach (Event one in files.SelectMany(Records))
        {
            if (one.SessionLog?.Status == SessionLog.Types.SessionStatus.Start)
            {
                shown._events.RemoveAll(earlier => earlier.Step >= one.Step);
            }
            else if (one.Summary is not null)
            {
                shown._events.Add(one);
            }
        }

        return shown;
    }

    /// <summary>Steps of a curve or of pictures, in display order.</summary>
    public IEnumerable<long> Steps(string tag) =>
        _events.Where(one => one.Summary.Value[0].Tag == tag).Select(one => one.Step);

    private static IEnumerable<Event> Records(string file)
    {
        byte[] bytes = File.ReadAllBytes(file);
        for (int at = 0; at + 16 <= bytes.Length;)
        {
            long length = BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(at));
            if (at + 16 + length > bytes.Length)
            {
                yield break;
            }

            Check(bytes.AsSpan(at, 8), bytes.AsSpan(at + 8));
            Check(bytes.AsSpan(at + 12, (int)length), bytes.AsSpan(at + 12 + (int)length));
            yield return Event.Parser.ParseFrom(bytes, at + 12, (int)length);
            at += 16 + (int)length;
        }
    }

    private static void Check(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> checksum)
    {
        uint crc = uint.MaxValue;
        foreach (byte one in bytes)
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        Assert.Equal(
            BitOperations.RotateRight(~crc, 15) + 0xa282ead8, BinaryPrimitives.ReadUInt32LittleEndian(checksum));
    }
}
