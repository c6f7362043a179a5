// The state of a stage between two steps, as plain numbers: everything that a replica needs to continue as if it had
// computed all steps itself.
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Atelier.Training.Worlds;

namespace Atelier.Training.Checkpoints;

/// <summary>A vector of the state, with one number for each weight.</summary>
/// <param name="Name">Name of the vector in checkpoints: weights, moment1, moment2 or ema.</param>
/// <param name="Values">The P numbers.</param>
public sealed record StateVector(string Name, float[] Values);

/// <summary>A stage's state after a step.</summary>
/// <param name="Position">Position of the run, which includes the policy's memory and the ledger.</param>
/// <param name="LastPlanned">Step of the last planned checkpoint, to which a rollback returns.</param>
/// <param name="Vectors">Weights, moments and average, of equal length.</param>
/// <param name="Records">Records of the steps since the last planned checkpoint.</param>
/// <param name="PreviousRecords">SHA-256 of the file with the earlier records; null if there is no such file.</param>
public sealed record TrainingState(
    RunPosition Position, long LastPlanned, IReadOnlyList<StateVector> Vectors, ImmutableArray<StepRecord> Records,
    string? PreviousRecords = null)
{
    private const int HeaderBytesMax = 1 << 30;

    private static readonly JsonSerializerOptions s_tuples = new() { IncludeFields = true };

    /// <summary>Number of weights, P.</summary>
    public long Parameters => Vectors[0].Values.LongLength;

    /// <summary>SHA-256 of the given vectors, in order; equal for replicas that trained identically.</summary>
    public static string Digest(params IReadOnlyList<StateVector> vectors)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (StateVector vector in vectors)
        {
            ForEachPart(vector.Values, part => hash.AppendData(part));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>SHA-256 of the vectors and the position; equal for replicas that trained identically.</summary>
    public string AuditDigest()
    {
        string position = JsonSerializer.Serialize((Position, LastPlanned, PreviousRecords), s_tuples);
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Digest(Vectors) + position)));
    }

    /// <summary>
    /// Returns the state as bytes that can be sent to a peer. The copy refers to the state's vectors, which must not
    /// change.
    /// </summary>
    public IStateCopy ToCopy() => new Copy(this);

    /// <summary>Reads a copy that a peer sent.</summary>
    /// <param name="copy">The copy.</param>
    /// <param name="names">Names of the vectors.</param>
    /// <param name="parameters">Number of weights, P.</param>
    /// <exception cref="InvalidDataException">The copy belongs to another network, or is damaged.</exception>
    public static TrainingState FromCopy(IStateCopy copy, IReadOnlyList<string> names, long parameters)
    {
        Span<byte> prefix = stackalloc byte[sizeof(int)];
        copy.Read(0, prefix);
        int length = BinaryPrimitives.ReadInt32LittleEndian(prefix);
        long expected = sizeof(int) + (long)length + (names.Count * parameters * sizeof(float));
        if (length is < 2 or > HeaderBytesMax || copy.Length != expected)
        {
            throw new InvalidDataException(
                $"A copy of the state has {copy.Length} bytes, with a header of {length} bytes; a copy of "
                + $"{names.Count} vectors of {parameters} weights must have {expected} bytes.");
        }

        byte[] header = new byte[length];
        copy.Read(sizeof(int), header);
        Header read;
        try
        {
            read = JsonSerializer.Deserialize<Header>(header) ?? throw new JsonException("The header is null.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException("The header of a copy of the state cannot be read.", error);
        }

        var vectors = new StateVector[names.Count];
        long offset = sizeof(int) + (long)length;
        for (int i = 0; i < vectors.Length; i++)
        {
            float[] values = new float[parameters];
            ForEachPart(values, part =>
            {
                copy.Read(offset, part);
                offset += part.Length;
            });
            vectors[i] = new StateVector(names[i], values);
        }

        (IReadOnlyList<StepRecord> records, string? previous) = StepRecord.Read(read.Records);
        return new TrainingState(read.Position, read.LastPlanned, vectors, [.. records], previous);
    }

    // A span cannot hold all bytes of a long vector, so the action receives them in parts.
    private static void ForEachPart(float[] values, PartAction action)
    {
        const int part = 1 << 22;
        for (long start = 0; start < values.LongLength; start += part)
        {
            int count = (int)Math.Min(part, values.LongLength - start);
            action(MemoryMarshal.AsBytes(values.AsSpan((int)start, count)));
        }
    }

    private delegate void PartAction(Span<byte> part);

    private sealed record Header(RunPosition Position, long LastPlanned, byte[] Records);

    private sealed class Copy : IStateCopy
    {
        private readonly byte[] _header;
        private readonly IReadOnlyList<StateVector> _vectors;

        public Copy(TrainingState state)
        {
            byte[] json = JsonSerializer.SerializeToUtf8Bytes(
                new Header(state.Position, state.LastPlanned, StepRecord.Write(state.Records, state.PreviousRecords)));
            _header = new byte[sizeof(int) + json.Length];
            BinaryPrimitives.WriteInt32LittleEndian(_header, json.Length);
            json.CopyTo(_header, sizeof(int));
            _vectors = state.Vectors;
        }

        public long Length => _header.Length + (_vectors.Count * VectorBytes);

        private long VectorBytes => _vectors[0].Values.LongLength * sizeof(float);

        public void Read(long offset, Span<byte> destination)
        {
            while (destination.Length > 0)
            {
                ReadOnlySpan<byte> source = At(offset);
                int count = Math.Min(source.Length, destination.Length);
                source[..count].CopyTo(destination);
                destination = destination[count..];
                offset += count;
            }
        }

        public void Dispose()
        {
            // The arrays belong to the state.
        }

        // At least one byte, from the given offset on, as far as the bytes are contiguous in memory.
        private ReadOnlySpan<byte> At(long offset)
        {
            if (offset < _header.Length)
            {
                return _header.AsSpan((int)offset);
            }

            (long vector, long within) = Math.DivRem(offset - _header.Length, VectorBytes);
            float[] values = _vectors[(int)vector].Values;
            long first = within / sizeof(float);
            int count = (int)Math.Min(1 << 22, values.LongLength - first);
            return MemoryMarshal.AsBytes(values.AsSpan((int)first, count))[(int)(within % sizeof(float))..];
        }
    }
}
