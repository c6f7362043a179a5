// The choice of an id's partition in the open set. The generation's state records the choice, so the number of
// partitions may change, and an id may go to a second partition when its first one is full.
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts.OpenSets;
using Microsoft.Extensions.Options;

namespace Atelier.Grains.OpenSets;

/// <summary>A silo's view of the open set's layout.</summary>
internal sealed class OpenSetMap(IGrainFactory grains, IOptions<OpenSetOptions> options)
{
    private volatile OpenSetLayout? _layout;

    /// <summary>The candidate partitions of a generation or a session, in the order in which they are tried.</summary>
    /// <param name="key">A generation's or a session's key.</param>
    public async ValueTask<int[]> PartitionsOfAsync(string key) => Spread(
        (_layout ??= await ReadAsync()).Key, key, options.Value.Partitions);

    /// <summary>Number of partitions that may have entries; they are numbered from 0.</summary>
    public async Task<int> CountAsync() => (await ReadAsync()).Partitions;

    /// <summary>Two partitions by a keyed hash (HMAC-SHA256), different ones unless there is only one.</summary>
    public static int[] Spread(byte[] key, string text, int partitions)
    {
        Span<byte> hash = stackalloc byte[HMACSHA256.HashSizeInBytes];
        HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(text), hash);
        int first = (int)(BinaryPrimitives.ReadUInt32LittleEndian(hash) % (uint)partitions);
        if (partitions == 1)
        {
            return [first];
        }

        int step = 1 + (int)(BinaryPrimitives.ReadUInt32LittleEndian(hash[4..]) % (uint)(partitions - 1));
        return [first, (first + step) % partitions];
    }

    private Task<OpenSetLayout> ReadAsync() =>
        grains.GetGrain<IOpenSetLayoutGrain>(0).ReadAsync(options.Value.Partitions);
}
