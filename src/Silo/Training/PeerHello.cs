// The introductions at the beginning of a connection, after its TLS handshake: who dials whom, and for which stage. The
// bytes up to the version never change, so that different releases can recognize each other.
//
//   hello:  "ATPEERS", version (byte), length of the rest in bytes (uint16). The rest: number of the attempt (int64),
//           the dialer's incarnation and that of the peer whom it expects (int64 each), then the stage, the dialer's
//           name and the peer's name, each as its length in bytes (uint16) and its UTF-8 bytes.
//   answer: "ATPEERS", version (byte), answer (byte), number of the answering trainer's own last attempt (int64).
using System.Buffers.Binary;
using System.Text;
using Atelier.Training.Worlds;

namespace Atelier.Silo.Training;

/// <summary>The answer to a hello. The numbers are part of the format.</summary>
internal enum PeerAnswer : byte
{
    None = 0,

    /// <summary>Frames follow in both directions.</summary>
    Accepted = 1,

    /// <summary>The dialer uses another version of the protocol.</summary>
    OtherVersion = 2,

    /// <summary>The dialer belongs to another stage.</summary>
    OtherStage = 3,

    /// <summary>The answering trainer is not the one that the dialer expected.</summary>
    OtherTrainer = 4,

    /// <summary>The answering trainer knows a later process with the dialer's name.</summary>
    Stale = 5,

    /// <summary>The two trainers dialed each other at the same time, and the other connection counts.</summary>
    Crossed = 6,

    /// <summary>The answering trainer has too many connections.</summary>
    Full = 7,
}

/// <summary>A dialer's introduction.</summary>
/// <param name="Stage">The stage.</param>
/// <param name="From">The dialer.</param>
/// <param name="To">The trainer that the dialer expects.</param>
/// <param name="Attempt">Number of the dialer's attempt, from 1.</param>
internal sealed record PeerHello(string Stage, TrainerId From, TrainerId To, long Attempt)
{
    public const int NameBytesMax = 256;
    public const int StageBytesMax = 1024;

    private const byte Version = 1;
    private const int HeadBytes = 10;
    private const int AnswerBytes = 17;

    private static readonly UTF8Encoding s_text = new(
        encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private static ReadOnlySpan<byte> Magic => "ATPEERS"u8;

    public byte[] Encode()
    {
        byte[] bytes = new byte[
            HeadBytes + 30 + s_text.GetByteCount(Stage) + s_text.GetByteCount(From.Name)
            + s_text.GetByteCount(To.Name)];
        Magic.CopyTo(bytes);
        bytes[7] = Version;
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(8), (ushort)(bytes.Length - HeadBytes));
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(10), Attempt);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(18), From.Incarnation);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(26), To.Incarnation);
        Span<byte> rest = bytes.AsSpan(34);
        foreach (string text in (string[])[Stage, From.Name, To.Name])
        {
            int length = s_text.GetBytes(text, rest[2..]);
            BinaryPrimitives.WriteUInt16LittleEndian(rest, (ushort)length);
            rest = rest[(2 + length)..];
        }

        return bytes;
    }

    /// <summary>Reads a hello.</summary>
    /// <returns>The hello; null if it has another version.</returns>
    /// <exception cref="InvalidDataException">The bytes are not a hello.</exception>
    public static async Task<PeerHello?> ReadAsync(Stream stream, CancellationToken cancellation)
    {
        byte[] head = new byte[HeadBytes];
        await stream.ReadExactlyAsync(head, cancellation);
        int length = BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(8));
        if (!head.AsSpan().StartsWith(Magic))
        {
            throw new InvalidDataException("The peer does not use the trainers' protocol.");
        }

        byte[] rest = new byte[length];
        await stream.ReadExactlyAsync(rest, cancellation);
        return head[7] == Version ? Decode(rest) : null;
    }

    public static byte[] EncodeAnswer(PeerAnswer answer, long attempt)
    {
        byte[] bytes = new byte[AnswerBytes];
        Magic.CopyTo(bytes);
        (bytes[7], bytes[8]) = (Version, (byte)answer);
        BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(9), attempt);
        return bytes;
    }

    /// <summary>Reads an answer.</summary>
    /// <exception cref="InvalidDataException">The bytes are not an answer.</exception>
    public static async Task<(PeerAnswer Answer, long Attempt)> ReadAnswerAsync(
        Stream stream, CancellationToken cancellation)
    {
        byte[] bytes = new byte[AnswerBytes];
        await stream.ReadExactlyAsync(bytes, cancellation);
        return bytes.AsSpan().StartsWith(Magic)
            ? ((PeerAnswer)bytes[8], BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(9)))
            : throw new InvalidDataException("The peer does not use the trainers' protocol.");
    }

    /// <summary>Explains to people why a dialer was refused.</summary>
    public static string Explain(PeerAnswer answer) => answer switch
    {
        PeerAnswer.OtherVersion => "the releases differ; all trainers of a stage must run the same release",
        PeerAnswer.OtherStage => "the two trainers belong to different stages",
        PeerAnswer.OtherTrainer => "another trainer listens at the address",
        PeerAnswer.Stale => "the listener knows a later process with the dialer's name",
        PeerAnswer.Crossed => "the two trainers dialed each other at the same time",
        PeerAnswer.Full => "the listener has too many connections",
        _ => $"the answer is {(byte)answer}, which this release does not know",
    };

    private static PeerHello Decode(ReadOnlySpan<byte> bytes)
    {
        string[] texts = new string[3];
        ReadOnlySpan<byte> rest = bytes.Length < 24 ? default : bytes[24..];
        for (int i = 0; i < texts.Length; i++)
        {
            int length = rest.Length < 2 ? int.MaxValue : BinaryPrimitives.ReadUInt16LittleEndian(rest);
            if (length > rest.Length - 2)
            {
                throw new InvalidDataException("The peer's hello is too short.");
            }

            try
            {
                texts[i] = s_text.GetString(rest.Slice(2, length));
            }
            catch (DecoderFallbackException error)
            {
                throw new InvalidDataException("The peer's hello is not UTF-8.", error);
            }

            rest = rest[(2 + length)..];
        }

        return new PeerHello(
            texts[0], new TrainerId(texts[1], BinaryPrimitives.ReadInt64LittleEndian(bytes[8..])),
            new TrainerId(texts[2], BinaryPrimitives.ReadInt64LittleEndian(bytes[16..])),
            BinaryPrimitives.ReadInt64LittleEndian(bytes));
    }
}
