// Event files for TensorBoard, one per start of the run. TorchSharp's own writer can express neither that a run resumes
// at an earlier step nor the time of an event.
using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using Atelier.Model.Imaging;
using Google.Protobuf;
using Tensorboard;

namespace Atelier.Model.Training.Runs;

/// <summary>Writes events. A record is complete in the file before the next one begins.</summary>
public sealed class TrainingEvents : IDisposable
{
    /// <summary>Folder of the event files, in the run's folder.</summary>
    public const string FolderName = "events";

    private const string Start = "events.out.tfevents.";

    private readonly Stream _file;
    private readonly TimeProvider _clock;

    /// <summary>
    /// Begins an event file. If there are earlier files, TensorBoard is instructed to discard their records of
    /// <paramref name="step"/> and later steps, which a killed run repeats.
    /// </summary>
    /// <param name="folder">Folder of the event files.</param>
    /// <param name="step">The next step.</param>
    /// <param name="clock">Source of event times.</param>
    public TrainingEvents(string folder, long step, TimeProvider clock)
    {
        _clock = clock;
        Directory.CreateDirectory(folder);
        string[] earlier = Directory.GetFiles(folder, Start + "*");

        // TensorBoard reads files in the order of their names, so names must ascend even if the clock was set back.
        long number = Math.Max(clock.GetUtcNow().Ticks, earlier.Select(NumberOf).DefaultIfEmpty().Max() + 1);
        string name = string.Create(CultureInfo.InvariantCulture, $"{Start}{number:d18}.{Environment.MachineName}");
        _file = new FileStream(
            Path.Combine(folder, name), FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
        Write(new Event { FileVersion = "brain.Event:2" });
        if (earlier.Length > 0)
        {
            Write(new Event
            {
                Step = step, SessionLog = new SessionLog { Status = SessionLog.Types.SessionStatus.Start },
            });
        }
    }

    /// <summary>Begins an event file in a stream, which is disposed with it.</summary>
    /// <param name="file">The stream.</param>
    /// <param name="clock">Source of event times.</param>
    public TrainingEvents(Stream file, TimeProvider clock)
    {
        (_file, _clock) = (file, clock);
        Write(new Event { FileVersion = "brain.Event:2" });
    }

    /// <summary>Adds a point of a curve; values that are not finite are left out.</summary>
    public void Add(string tag, double value, long step)
    {
        if (double.IsFinite(value))
        {
            Write(step, new Summary.Types.Value { Tag = tag, SimpleValue = (float)value });
        }
    }

    /// <summary>Adds a picture.</summary>
    /// <param name="tag">Title of the picture.</param>
    /// <param name="png">A PNG file.</param>
    /// <param name="step">The step after which it was made.</param>
    public void AddPicture(string tag, byte[] png, long step)
    {
        (int width, int height) = ImageCodec.ReadSize(png, tag);
        Write(step, new Summary.Types.Value
        {
            Tag = tag,
            Image = new Summary.Types.Image
            {
                Width = width, Height = height, Colorspace = 3, EncodedImageString = ByteString.CopyFrom(png),
            },
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private void Write(long step, Summary.Types.Value value)
    {
        var summary = new Summary();
        summary.Value.Add(value);
        Write(new Event { Step = step, Summary = summary });
    }

    // A record is the length of its bytes, the length's checksum, the bytes, and their checksum.
    private void Write(Event record)
    {
        record.WallTime = (_clock.GetUtcNow() - DateTimeOffset.UnixEpoch).TotalSeconds;
        byte[] bytes = record.ToByteArray(), framed = new byte[bytes.Length + 16];
        BinaryPrimitives.WriteInt64LittleEndian(framed, bytes.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(framed.AsSpan(8), Checksum(framed.AsSpan(0, 8)));
        bytes.CopyTo(framed, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(framed.AsSpan(12 + bytes.Length), Checksum(bytes));
        _file.Write(framed);
    }

    // CRC-32C, masked as in TensorFlow's records.
    private static uint Checksum(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte one in bytes)
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        return BitOperations.RotateRight(~crc, 15) + 0xa282ead8;
    }

    private static long NumberOf(string path) => long.TryParse(
        Path.GetFileName(path)[Start.Length..].Split('.')[0], NumberStyles.None, CultureInfo.InvariantCulture,
        out long number)
        ? number : 0;
}
