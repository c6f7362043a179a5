// A reader of server-sent events (the event stream format of the HTML standard, as far as the cluster uses it).
// Comments are keep-alives: a stream that is silent for too long is dead, even if its connection still looks open.
using System.Text;

namespace Atelier.Cli.Cluster;

/// <summary>A received event.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Id">Its id; null if it has none.</param>
/// <param name="Data">Its data.</param>
internal readonly record struct StreamEvent(string Name, string? Id, string Data);

/// <summary>Reads events one by one.</summary>
internal sealed class EventStreamReader(Stream stream, TimeSpan silenceMax, TimeProvider clock) : IDisposable
{
    private const int DataLengthMax = 1 << 20;

    private readonly StreamReader _reader = new(stream, Encoding.UTF8);

    /// <summary>Reads the next event; null at the end. An incomplete event at the end is dropped.</summary>
    /// <exception cref="TimeoutException">The stream was silent for too long.</exception>
    /// <exception cref="IOException">The connection broke, or an event is too long.</exception>
    public async Task<StreamEvent?> ReadAsync(CancellationToken cancellation)
    {
        string name = "message";
        string? id = null;
        var data = new StringBuilder();
        while (await ReadLineAsync(cancellation) is { } line)
        {
            if (line.Length == 0)
            {
                if (data.Length > 0)
                {
                    return new StreamEvent(name, id, data.ToString(0, data.Length - 1));
                }

                (name, id) = ("message", null);
                continue;
            }

            int colon = line.IndexOf(':', StringComparison.Ordinal);
            string field = colon < 0 ? line : line[..colon], value = colon < 0 ? "" : line[(colon + 1)..];
            value = value.StartsWith(' ') ? value[1..] : value;
            switch (field)
            {
                case "event":
                    name = value;
                    break;
                case "id":
                    id = value;
                    break;
                case "data" when data.Length + value.Length <= DataLengthMax:
                    data.Append(value).Append('\n');
                    break;
                case "data":
                    throw new IOException($"An event has more than {DataLengthMax} characters.");
                default:
                    break; // A comment or an unknown field.
            }
        }

        return null;
    }

    /// <inheritdoc/>
    public void Dispose() => _reader.Dispose();

    private async Task<string?> ReadLineAsync(CancellationToken cancellation)
    {
        using var silence = new CancellationTokenSource(silenceMax, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(silence.Token, cancellation);
        try
        {
            return await _reader.ReadLineAsync(either.Token);
        }
        catch (OperationCanceledException error) when (!cancellation.IsCancellationRequested)
        {
            throw new TimeoutException($"The stream was silent for {silenceMax.TotalSeconds:0.#} s.", error);
        }
    }
}
