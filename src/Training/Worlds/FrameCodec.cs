// The binary form of the frames that trainers send each other: a header (FrameHeader), the sums of a batch besides its
// gradient (BatchSumsCodec), and the gradient's numbers as they are in memory.
using System.Buffers.Binary;

namespace Atelier.Training.Worlds;

/// <summary>Shows that the sender is alive when it has nothing else to send.</summary>
public sealed record HeartbeatFrame() : Frame(0);

/// <summary>Encodes the frames of a run. It is immutable.</summary>
/// <remarks>A state is too large for one frame; <see cref="StateSender"/> encodes it.</remarks>
public sealed class FrameCodec
{
    /// <summary>Length of a frame's header in bytes, as <see cref="FrameDecoder.Begin"/> expects it.</summary>
    public const int HeaderBytes = FrameHeader.Bytes;

    /// <summary>Creates a codec for a run.</summary>
    /// <param name="limits">Limits of the run.</param>
    /// <exception cref="ArgumentOutOfRangeException">The limits are impossible.</exception>
    public FrameCodec(FrameLimits limits)
    {
        if (!BitConverter.IsLittleEndian)
        {
            throw new PlatformNotSupportedException("Trainers need a little-endian processor.");
        }

        Limits = limits.Checked();
    }

    /// <summary>Limits of the run.</summary>
    public FrameLimits Limits { get; }

    /// <summary>
    /// Encodes a frame. The numbers are not copied: they must not change until the last piece is sent.
    /// </summary>
    /// <exception cref="ArgumentException">The frame exceeds the run's limits, or contains a state.</exception>
    public FrameEncoding Encode(Frame frame) => frame switch
    {
        HeartbeatFrame => Bare(FrameKind.Heartbeat, frame, 0),
        CatchUpFrame ask => Bare(FrameKind.CatchUp, frame, ask.Step),
        FollowFrame => Bare(FrameKind.Follow, frame, 0),
        FollowedFrame followed => Bare(FrameKind.Followed, frame, followed.FromStep, followed.Slice),
        CopyFrame ask => Bare(FrameKind.Copy, frame, ask.Step, ask.Part, ask.Parts),
        StateFrame { State: null } none => Bare(FrameKind.NoState, frame, none.Step, none.Part, none.Parts),
        PartialFrame<GradientSlice> part =>
            WithSlice(FrameKind.Partial, part.World, part.Step, part.Slice, 0, part.Node, part.Value),
        TotalFrame<GradientSlice> total =>
            WithSlice(FrameKind.Total, total.World, total.Step, total.Slice, total.Slices, default, total.Value),
        VerifiedFrame verified => WithClaim(FrameKind.Verified, frame, verified.Step, verified.Claim),
        VerifyFrame ask => WithClaim(FrameKind.Verify, frame, ask.Step, ask.Claim),
        StateFrame => throw new ArgumentException("A state is sent in chunks.", nameof(frame)),
        _ => throw new ArgumentException($"{frame.GetType().Name} is not sent to peers.", nameof(frame)),
    };

    private FrameEncoding Bare(FrameKind kind, Frame frame, long step, int slice = 0, int slices = 0) => new(
        Checked(new FrameHeader(kind, frame.World, step, slice, slices, default, 0, 0)), [], default);

    private FrameEncoding WithClaim(FrameKind kind, Frame frame, long step, ShardClaim claim)
    {
        if (BatchSumsCodec.Fault(claim, Limits) is { } fault)
        {
            throw new ArgumentException(fault, nameof(claim));
        }

        Span<byte> bytes = stackalloc byte[BatchSumsCodec.ClaimBytes];
        BatchSumsCodec.Write(claim, bytes);
        var header = new FrameHeader(kind, frame.World, step, 0, 0, default, 0, bytes.Length);
        return new FrameEncoding(Checked(header), bytes, default);
    }

    private FrameEncoding WithSlice(
        FrameKind kind, int world, long step, int slice, int slices, TreeNode node, GradientSlice value)
    {
        if ((slice == 0) != (value.Sums is not null))
        {
            throw new ArgumentException(
                $"Slice {slice} has {(value.Sums is null ? "no sums" : "sums")}; slice 0 must have sums, and others "
                + "must not.",
                nameof(value));
        }

        if (value.Sums is { } faulty && BatchSumsCodec.Fault(faulty, Limits) is { } fault)
        {
            throw new ArgumentException(fault, nameof(value));
        }

        byte[] sums = value.Sums is null ? [] : new byte[BatchSumsCodec.BytesOf(value.Sums)];
        if (value.Sums is not null)
        {
            BatchSumsCodec.Write(value.Sums, sums);
        }

        long bytes = sums.Length + ((long)value.Values.Length * sizeof(float));
        return new FrameEncoding(
            Checked(new FrameHeader(kind, world, step, slice, slices, node, value.Values.Length, bytes)),
            sums, value.Values);
    }

    internal FrameHeader Checked(FrameHeader header) =>
        header.Fault(Limits) is { } fault ? throw new ArgumentException(fault, nameof(header)) : header;
}

/// <summary>An encoded frame, to be sent piece by piece.</summary>
public sealed class FrameEncoding
{
    // Numbers per piece: few enough for a piece to be still in the processor's cache when it is sent, right after its
    // checksum was computed.
    private const int PieceNumbers = 1 << 18;

    private readonly byte[] _head;
    private readonly Memory<float> _values;
    private readonly bool _hasPayload;
    private int _sent = -1;
    private uint _checksum;

    internal FrameEncoding(FrameHeader header, ReadOnlySpan<byte> sums, Memory<float> values)
    {
        _values = values;
        _hasPayload = header.PayloadBytes > 0;
        _head = new byte[FrameHeader.Bytes + sums.Length];
        sums.CopyTo(_head.AsSpan(FrameHeader.Bytes));
        _checksum = Crc32C.Append(header.Write(_head), sums);
        Bytes = FrameHeader.Bytes + (_hasPayload ? header.PayloadBytes + FrameHeader.ChecksumBytes : 0);
    }

    /// <summary>Total length of all pieces in bytes.</summary>
    public long Bytes { get; }

    /// <summary>Returns the next piece; false after the last one.</summary>
    public bool TryNext(out ReadOnlyMemory<byte> piece)
    {
        piece = default;
        if (_sent < 0)
        {
            piece = _head;
            _sent = 0;
        }
        else if (_sent < _values.Length)
        {
            Memory<float> values = _values.Slice(_sent, Math.Min(PieceNumbers, _values.Length - _sent));
            piece = new FloatBytes(values).Memory;
            _checksum = Crc32C.Append(_checksum, piece.Span);
            _sent += values.Length;
        }
        else if (_hasPayload && _sent == _values.Length)
        {
            byte[] checksum = new byte[FrameHeader.ChecksumBytes];
            BinaryPrimitives.WriteUInt32LittleEndian(checksum, _checksum);
            piece = checksum;
            _sent = int.MaxValue;
        }

        return !piece.IsEmpty;
    }
}
