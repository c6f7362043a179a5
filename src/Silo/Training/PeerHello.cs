// The first bytes of a connection, after its TLS handshake: who dials whom, and for which stage. What comes before the
// version never changes, so that releases can tell each other apart.
//
//   hello:  "ATPEERS", version, bytes of the rest, uint16; the rest: number of the attempt, int64; the dialer's
//           incarnation and that of the peer whom it expects, int64 each; stage, the dialer's name and the peer's, each
//           with its length in bytes, uint16, in UTF-8
//   answer: "ATPEERS", version, answer, number of the answerer's own last attempt, int64
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

    /// <summary>The releases differ.</summary>
    OtherVersion = 2,

    /// <summary>It belongs to another stage.</summary>
    OtherStage = 3,

    /// <summary>It is another trainer than the one that was expected.</summary>
    OtherTrainer = 4,

    /// <summary>A later process of the dialer's place is known.</summary>
    Stale = 5,

    /// <summary>The two dialed each other, and the other connection counts.</summary>
    Crossed = 6,

    /// <summary>It has too many connections.</summary>
    Full = 7,
}

/// <summary>A dialer's introduction.</summary>
/// <param name="Stage">The stage.</param>
/// <param name="From">The dialer.</param>
/// <param name="To">Whom it expects.</param>
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
    /// <returns>The hello; null if it is of another version.</returns>
    /// <exception cref="InvalidDataException">It is not a hello.</exception>
    public static async Task<PeerHello?> ReadAsync(Stream stream, CancellationToken cancellation)
    {
        byte[] head = new byte[HeadBytes];
        await stream.ReadExactlyAsync(head, cancellation);
        int length = BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(8));
        if (!head.AsSpan().StartsWith(Magic))
        {
            throw new InvalidDataException("It does not speak the trainers' protocol.");
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
    /// <exception cref="InvalidDataException">It is not an answer.</exception>
    public static async Task<(PeerAnswer Answer, long Attempt)> ReadAnswerAsync(
        Stream stream, CancellationToken cancellation)
    {
        byte[] bytes = new byte[AnswerBytes];
        await stream.ReadExactlyAsync(bytes, cancellation);
        return bytes.AsSpan().StartsWith(Magic)
            ? ((PeerAnswer)bytes[8], BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(9)))
            : throw new InvalidDataException("It does not speak the trainers' protocol.");
    }

    /// <summary>Why a dialer was refused, for people.</summary>
    public static string Explain(PeerAnswer answer) => answer switch
    {
        PeerAnswer.OtherVersion => "it is of another release; all trainers of a stage must be of one release",
        PeerAnswer.OtherStage => "it belongs to another stage",
        PeerAnswer.OtherTrainer => "another trainer listens at the address",
        PeerAnswer.Stale => "a later process of the same place is known there",
        PeerAnswer.Crossed => "the two dialed each other at once",
        PeerAnswer.Full => "it has too many connections",
        _ => $"its answer is {(byte)answer}",
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
                throw new InvalidDataException("Its introduction is too short.");
            }

            try
            {
                texts[i] = s_text.GetString(rest.Slice(2, length));
            }
            catch (DecoderFallbackException error)
            {
                throw new InvalidDataException("Its introduction is not UTF-8.", error);
            }

            rest = rest[(2 + length)..];
        }

        return new PeerHello(
            texts[0], new TrainerId(texts[1], BinaryPrimitives.ReadInt64LittleEndian(bytes[8..])),
            new TrainerId(texts[2], BinaryPrimitives.ReadInt64LittleEndian(bytes[16..])),
            BinaryPrimitives.ReadInt64LittleEndian(bytes));
    }
}
