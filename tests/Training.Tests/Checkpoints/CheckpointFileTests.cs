// Goal: a state that is written as parts, or sent as a copy, is read back number by number; damaged parts are refused;
// and the parts do not depend on which trainer writes them. Method: states of several sizes, read in pieces of
// several lengths, and damaged files.
using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using Atelier.Training.Checkpoints;
using Atelier.Training.Worlds;
using Xunit;

namespace Atelier.Training.Tests.Checkpoints;

public sealed class CheckpointFileTests
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private static readonly Dictionary<string, string> s_metadata =
        new() { ["identity"] = "me", ["precision"] = "float32" };

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(1000)]
    public void Parts_RestoreTheState(int parameters)
    {
        TrainingState state = State(parameters);
        var layout = new CheckpointLayout(parameters);
        StateVector[] read = [.. state.Vectors.Select(vector => new StateVector(vector.Name, new float[parameters]))];
        for (int part = 0; part < layout.Slices; part++)
        {
            byte[] file = CheckpointFile.Write(state, part, s_metadata);
            Assert.Equal(file, CheckpointFile.Write(State(parameters), part, s_metadata));
            IReadOnlyDictionary<string, string> metadata = CheckpointFile.Read(file, part, read);
            Assert.Equal("me", metadata["identity"]);
            Assert.Equal(Text(state.Position), Text(CheckpointFile.PositionOf(metadata)));
        }

        AssertEqual(state.Vectors, read);
        Assert.Equal(
            StepRecord.Write(state.Records, "before"), CheckpointFile.Write(state, layout.Slices, s_metadata));
        foreach (string? previous in new[] { "before", null })
        {
            (IReadOnlyList<StepRecord> records, string? named) = StepRecord.Read(
                StepRecord.Write(state.Records, previous));
            Assert.Equal((Text(state.Records), previous), (Text(records), named));
        }
    }

    [Fact]
    public void Slices_CoverAllWeights_Once()
    {
        const long most = CheckpointLayout.WeightsMax;
        foreach (long parameters in new[] { 1, most, most + 1, 1_160_000_000 })
        {
            var layout = new CheckpointLayout(parameters);
            long next = 0;
            for (int i = 0; i < layout.Slices; i++)
            {
                (long start, long count) = layout.Slice(i);
                Assert.Equal(next, start);
                Assert.InRange(count, 1, CheckpointLayout.WeightsMax);
                next = start + count;
            }

            Assert.Equal(parameters, next);
            Assert.Equal(layout.Slices + 1, layout.Parts);
        }
    }

    [Fact]
    public void DamagedFiles_AreRefused()
    {
        TrainingState state = State(7);
        byte[] file = CheckpointFile.Write(state, 0, s_metadata);
        byte[] claims = [.. file];
        BinaryPrimitives.WriteInt64LittleEndian(claims, long.MaxValue);
        string header = Encoding.UTF8.GetString(file, 8, (int)BinaryPrimitives.ReadInt64LittleEndian(file));
        foreach (byte[] damaged in (byte[][])
            [
                [], file[..4], file[..^1], claims, Replaced("F32", "F16"), Replaced("[7]", "[8]"),
                Replaced("\"ema\"", "\"emb\""),
            ])
        {
            Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(damaged, 0, Empty(7)));
        }

        Assert.Throws<InvalidDataException>(() => CheckpointFile.PositionOf(new Dictionary<string, string>()));
        Assert.Throws<InvalidDataException>(() => StepRecord.Read("{}}\n"u8));
        Assert.Throws<InvalidDataException>(() => StepRecord.Read(""u8));
        Assert.Throws<InvalidDataException>(() => StepRecord.Read("{}\nnull\n"u8));

        byte[] Replaced(string old, string other)
        {
            byte[] changed = Encoding.UTF8.GetBytes(header.Replace(old, other, StringComparison.Ordinal));
            Assert.Equal(header.Length, changed.Length);
            return [.. file[..8], .. changed, .. file[(8 + header.Length)..]];
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(64)]
    [InlineData(100_000)]
    public void Copy_ReadInPiecesOfAnySize_IsTheState(int piece)
    {
        TrainingState state = State(1000);
        using IStateCopy copy = state.ToCopy();
        using var received = new Received(copy.Length);
        for (long at = 0; at < copy.Length; at += piece)
        {
            int count = (int)Math.Min(piece, copy.Length - at);
            copy.Read(at, received.Bytes.AsSpan((int)at, count));
        }

        TrainingState read = TrainingState.FromCopy(received, [.. state.Vectors.Select(vector => vector.Name)], 1000);
        AssertEqual(state.Vectors, read.Vectors);
        Assert.Equal(Text(state.Position), Text(read.Position));
        Assert.Equal(state.LastPlanned, read.LastPlanned);
        Assert.Equal(Text(state.Records), Text(read.Records));
        Assert.Equal("before", read.PreviousRecords);
        Assert.Equal(TrainingState.Digest(state.Vectors), TrainingState.Digest(read.Vectors));
    }

    [Fact]
    public void CopyOfAnotherNetwork_IsRefused()
    {
        using IStateCopy copy = State(10).ToCopy();
        Assert.Throws<InvalidDataException>(() => TrainingState.FromCopy(copy, ["weights", "moment1"], 10));
        Assert.Throws<InvalidDataException>(() => TrainingState.FromCopy(
            copy, ["weights", "moment1", "moment2", "ema"], 11));
    }

    [Fact]
    public void Digest_ChangesWithEveryNumber()
    {
        TrainingState state = State(10);
        string before = TrainingState.Digest(state.Vectors);
        foreach (StateVector vector in state.Vectors)
        {
            vector.Values[9] += 1;
            Assert.NotEqual(before, TrainingState.Digest(state.Vectors));
            vector.Values[9] -= 1;
        }

        Assert.Equal(before, TrainingState.Digest(state.Vectors));
    }

    private static TrainingState State(int parameters)
    {
        string[] names = ["weights", "moment1", "moment2", "ema"];
        StateVector[] vectors =
        [
            .. names.Select((name, v) => new StateVector(
                name, [.. Enumerable.Range(0, parameters).Select(i => (1000 * v) + i + 0.5f)])),
        ];
        var position = new RunPosition(
            20, 19, new PolicyMemory(19, -1.5, 0, 0, 0.25), [new SkippedSlice(3, "loss NaN")]);
        return new TrainingState(position, 20, vectors,
        [
            new StepRecord(18, 2, StepVerdict.Apply, 0.7, 1.25, 1e-4, [5, 1, 3], []),
            new StepRecord(19, 3, StepVerdict.Skip, double.NaN, double.PositiveInfinity, 1e-4, [2], [9]),
        ],
        "before");
    }

    private static StateVector[] Empty(int parameters) =>
        [.. State(1).Vectors.Select(vector => new StateVector(vector.Name, new float[parameters]))];

    private static void AssertEqual(IReadOnlyList<StateVector> expected, IReadOnlyList<StateVector> actual)
    {
        Assert.Equal(expected.Count, actual.Count);
        foreach ((StateVector one, StateVector other) in expected.Zip(actual))
        {
            Assert.Equal(one.Name, other.Name);
            Assert.Equal(one.Values, other.Values);
        }
    }

    private static string Text(object value) => JsonSerializer.Serialize(value, s_json);

    private sealed class Received(long length) : IStateCopy
    {
        public byte[] Bytes { get; } = new byte[length];

        public long Length => Bytes.Length;

        public void Read(long offset, Span<byte> destination) =>
            Bytes.AsSpan((int)offset, destination.Length).CopyTo(destination);

        public void Dispose()
        {
            // Nothing to free.
        }
    }
}
