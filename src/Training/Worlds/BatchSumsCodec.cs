// The binary form of a batch's sums. All numbers are little-endian:
//
//    0  sum of losses, float64     28  1 if there is a largest loss, int32
//    8  samples, int64             32  its sample, int32
//   16  not finite, int64          36  the loss, float32
//   24  world, int32               40  number of indices, int32
//   48  number of claims, int32    44  number of samples left out, int32
//
// Then follow the indices of the samples (int32 each), the claims, and the samples left out. A claim is the shard
// (int32), the sum of losses and the squared norm (float64 each), and the checksum (uint64). A sample left out is its
// index (int32), the lengths in bytes of its column name and of its value (uint16 each), and both texts in UTF-8.
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Text;

namespace Atelier.Training.Worlds;

/// <summary>Writes and reads <see cref="BatchSums"/>.</summary>
internal static class BatchSumsCodec
{
    public const int BytesMin = 52;
    public const int ClaimBytes = 28;

    private const int LeftOutBytes = 8;

    private static readonly UTF8Encoding s_text = new(
        encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static long BytesMax(FrameLimits limits) =>
        BytesMin + ((long)limits.Shards * ClaimBytes)
        + ((long)limits.Samples * (sizeof(int) + LeftOutBytes + (2 * FrameLimits.TextBytesMax)));

    public static int BytesOf(BatchSums sums) =>
        BytesMin + (sums.SampleIds.Length * sizeof(int)) + (sums.Claims.Length * ClaimBytes)
        + sums.LeftOut.Sum(
            bad => LeftOutBytes + s_text.GetByteCount(bad.Column) + s_text.GetByteCount(bad.Value));

    /// <summary>Returns what is wrong with the sums, given the run's limits; null if they are valid.</summary>
    public static string? Fault(BatchSums sums, FrameLimits limits) =>
        Outside("samples", sums.Samples, limits)
        ?? Outside("samples whose loss is not finite", sums.NotFinite, limits)
        ?? Outside("indices of samples", sums.SampleIds.Length, limits)
        ?? Outside("samples left out", sums.LeftOut.Length, limits)
        ?? (sums.Claims.Length > limits.Shards
            ? $"The sums have claims about {sums.Claims.Length} shards; a batch has {limits.Shards}." : null)
        ?? sums.Claims.Select(claim => Fault(claim, limits)).FirstOrDefault(fault => fault is not null)
        ?? (sums.World < 0 ? $"The sums belong to world {sums.World}; the number must not be negative." : null)
        ?? (sums.Largest is { Sample: < 0 } largest ? Negative(largest.Sample) : null)
        ?? (sums.SampleIds.AsSpan().IndexOfAnyInRange(int.MinValue, -1) is >= 0 and var at
            ? Negative(sums.SampleIds[at]) : null)
        ?? sums.LeftOut.Select(bad => Fault(bad)).FirstOrDefault(fault => fault is not null);

    /// <summary>Writes valid sums.</summary>
    public static void Write(BatchSums sums, Span<byte> to)
    {
        BinaryPrimitives.WriteDoubleLittleEndian(to, sums.LossSum);
        BinaryPrimitives.WriteInt64LittleEndian(to[8..], sums.Samples);
        BinaryPrimitives.WriteInt64LittleEndian(to[16..], sums.NotFinite);
        BinaryPrimitives.WriteInt32LittleEndian(to[24..], sums.World);
        BinaryPrimitives.WriteInt32LittleEndian(to[28..], sums.Largest is null ? 0 : 1);
        BinaryPrimitives.WriteInt32LittleEndian(to[32..], sums.Largest?.Sample ?? 0);
        BinaryPrimitives.WriteSingleLittleEndian(to[36..], sums.Largest?.Loss ?? 0);
        BinaryPrimitives.WriteInt32LittleEndian(to[40..], sums.SampleIds.Length);
        BinaryPrimitives.WriteInt32LittleEndian(to[44..], sums.LeftOut.Length);
        BinaryPrimitives.WriteInt32LittleEndian(to[48..], sums.Claims.Length);
        MemoryMarshal.AsBytes(sums.SampleIds.AsSpan()).CopyTo(to[BytesMin..]);
        to = to[(BytesMin + (sums.SampleIds.Length * sizeof(int)))..];
        foreach (ShardClaim claim in sums.Claims)
        {
            Write(claim, to);
            to = to[ClaimBytes..];
        }

        foreach (BadSample bad in sums.LeftOut)
        {
            BinaryPrimitives.WriteInt32LittleEndian(to, bad.Sample);
            int column = s_text.GetBytes(bad.Column, to[LeftOutBytes..]);
            int value = s_text.GetBytes(bad.Value, to[(LeftOutBytes + column)..]);
            BinaryPrimitives.WriteUInt16LittleEndian(to[4..], (ushort)column);
            BinaryPrimitives.WriteUInt16LittleEndian(to[6..], (ushort)value);
            to = to[(LeftOutBytes + column + value)..];
        }
    }

    /// <summary>Returns what is wrong with a claim, given the run's limits; null if it is valid.</summary>
    public static string? Fault(ShardClaim claim, FrameLimits limits) =>
        claim.Shard >= 0 && claim.Shard < limits.Shards ? null
        : $"A claim is about shard {claim.Shard}; it must be in 0..{limits.Shards - 1}.";

    /// <summary>Writes a claim.</summary>
    public static void Write(ShardClaim claim, Span<byte> to)
    {
        BinaryPrimitives.WriteInt32LittleEndian(to, claim.Shard);
        BinaryPrimitives.WriteDoubleLittleEndian(to[4..], claim.LossSum);
        BinaryPrimitives.WriteDoubleLittleEndian(to[12..], claim.SquaredNorm);
        BinaryPrimitives.WriteUInt64LittleEndian(to[20..], claim.Checksum);
    }

    /// <summary>Reads a claim.</summary>
    /// <exception cref="InvalidFrameException">The claim's shard does not exist in this run.</exception>
    public static ShardClaim ReadClaim(ReadOnlySpan<byte> from, FrameLimits limits)
    {
        var claim = new ShardClaim(
            BinaryPrimitives.ReadInt32LittleEndian(from), BinaryPrimitives.ReadDoubleLittleEndian(from[4..]),
            BinaryPrimitives.ReadDoubleLittleEndian(from[12..]), BinaryPrimitives.ReadUInt64LittleEndian(from[20..]));
        return Fault(claim, limits) is { } fault ? throw new InvalidFrameException(fault) : claim;
    }

    /// <summary>Reads sums that occupy all of the given bytes, which are at least <see cref="BytesMin"/>.</summary>
    /// <exception cref="InvalidFrameException">The bytes are not valid sums of a batch of this run.</exception>
    public static BatchSums Read(ReadOnlySpan<byte> from, FrameLimits limits)
    {
        int ids = BinaryPrimitives.ReadInt32LittleEndian(from[40..]);
        int leftOut = BinaryPrimitives.ReadInt32LittleEndian(from[44..]);
        int claims = BinaryPrimitives.ReadInt32LittleEndian(from[48..]);
        if (BinaryPrimitives.ReadInt32LittleEndian(from[28..]) is not (0 or 1) and var largest)
        {
            throw new InvalidFrameException($"The sums have {largest} largest losses; they must have 0 or 1.");
        }

        // The counts are checked against the bytes that have arrived before anything is allocated.
        ReadOnlySpan<byte> rest = from[BytesMin..];
        if ((Outside("indices of samples", ids, limits) ?? Outside("samples left out", leftOut, limits)) is { } fault)
        {
            throw new InvalidFrameException(fault);
        }

        if (claims < 0 || claims > limits.Shards)
        {
            throw new InvalidFrameException(
                $"The sums have claims about {claims} shards; a batch has {limits.Shards}.");
        }

        int claimsAt = ids * sizeof(int), leftOutAt = claimsAt + (claims * ClaimBytes);
        if (leftOutAt + ((long)leftOut * LeftOutBytes) > rest.Length)
        {
            throw new InvalidFrameException(
                $"{ids} indices of samples, {claims} claims and {leftOut} samples left out do not fit in "
                + $"{rest.Length} bytes.");
        }

        ImmutableArray<ShardClaim>.Builder read = ImmutableArray.CreateBuilder<ShardClaim>(claims);
        for (int i = 0; i < claims; i++)
        {
            read.Add(ReadClaim(rest[(claimsAt + (i * ClaimBytes))..], limits));
        }

        var sums = new BatchSums
        {
            LossSum = BinaryPrimitives.ReadDoubleLittleEndian(from),
            Samples = BinaryPrimitives.ReadInt64LittleEndian(from[8..]),
            NotFinite = BinaryPrimitives.ReadInt64LittleEndian(from[16..]),
            World = BinaryPrimitives.ReadInt32LittleEndian(from[24..]),
            Largest = from[28] == 0 ? null : new SampleLoss(
                BinaryPrimitives.ReadInt32LittleEndian(from[32..]),
                BinaryPrimitives.ReadSingleLittleEndian(from[36..])),
            SampleIds = [.. MemoryMarshal.Cast<byte, int>(rest[..(ids * sizeof(int))])],
            Claims = read.MoveToImmutable(),
            LeftOut = ReadLeftOut(rest[leftOutAt..], leftOut),
        };
        return Fault(sums, limits) is { } other ? throw new InvalidFrameException(other) : sums;
    }

    private static ImmutableArray<BadSample> ReadLeftOut(ReadOnlySpan<byte> from, int count)
    {
        ImmutableArray<BadSample>.Builder all = ImmutableArray.CreateBuilder<BadSample>(count);
        for (int i = 0; i < count; i++)
        {
            if (from.Length < LeftOutBytes)
            {
                throw new InvalidFrameException($"The sums end before sample {i + 1} of {count} that were left out.");
            }

            int column = BinaryPrimitives.ReadUInt16LittleEndian(from[4..]);
            int end = LeftOutBytes + column + BinaryPrimitives.ReadUInt16LittleEndian(from[6..]);
            if (end > from.Length)
            {
                throw new InvalidFrameException($"The sums end within sample {i + 1} of {count} that were left out.");
            }

            all.Add(new BadSample(
                BinaryPrimitives.ReadInt32LittleEndian(from), Text(from[LeftOutBytes..(LeftOutBytes + column)]),
                Text(from[(LeftOutBytes + column)..end])));
            from = from[end..];
        }

        return from.Length == 0 ? all.MoveToImmutable()
            : throw new InvalidFrameException($"The sums are followed by {from.Length} bytes; nothing may follow.");
    }

    private static string Text(ReadOnlySpan<byte> bytes)
    {
        try
        {
            return s_text.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            throw new InvalidFrameException("The name of a column, or a value, is not UTF-8.");
        }
    }

    private static string? Fault(BadSample bad) =>
        bad.Sample < 0 ? Negative(bad.Sample)
        : s_text.GetByteCount(bad.Column) > FrameLimits.TextBytesMax
            || s_text.GetByteCount(bad.Value) > FrameLimits.TextBytesMax
            ? $"Sample {bad.Sample} was left out with a column or value of more than {FrameLimits.TextBytesMax} bytes."
        : null;

    private static string Negative(int sample) => $"A sample has index {sample}; an index must not be negative.";

    private static string? Outside(string what, long count, FrameLimits limits) =>
        count >= 0 && count <= limits.Samples ? null
        : $"The sums have {count} {what}; a batch has {limits.Samples} samples.";
}
