// The watch that follows generations until they end. A grain's event stream breaks when the grain moves, its silo dies,
// or the reader is slow. Events are numbered, so the watch resumes after the last event received, and no event is lost
// or repeated.
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Grains;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Generations;

/// <summary>An event of one of several images.</summary>
/// <param name="Image">Index of the image in the request.</param>
/// <param name="Event">The event.</param>
internal readonly record struct ImageEvent(int Image, GenerationEvent Event);

/// <summary>Follows generations and resubscribes when a stream breaks.</summary>
internal sealed class GenerationWatch(IGrainFactory grains, TimeProvider clock, ApiInstruments instruments)
{
    // Maximum number of consecutive breaks without an event. Pauses grow to a second, so the watch tolerates an
    // unreachable cluster for about a minute.
    private const int BreaksMax = 60;
    private const int EventsAhead = 16;

    private static readonly TimeSpan s_pauseMin = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan s_pauseMax = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Streams the events of a generation that follow <paramref name="after"/>, up to the last one. The stream ends
    /// early if the generation is deleted.
    /// </summary>
    /// <exception cref="ApiException">The cluster has been unreachable for too long.</exception>
    public async IAsyncEnumerable<GenerationEvent> WatchAsync(
        GenerationKey key, EventNumber after, [EnumeratorCancellation] CancellationToken cancellation)
    {
        for (int breaks = 0; ; breaks++)
        {
            IAsyncEnumerator<GenerationEvent> events = grains.Generation(
                key).WatchAsync(after, cancellation).GetAsyncEnumerator(cancellation);
            try
            {
                while (await NextAsync(events, cancellation) is { } more)
                {
                    if (!more)
                    {
                        yield break;
                    }

                    GenerationEvent one = events.Current;
                    if (one.Number <= after)
                    {
                        continue;
                    }

                    (after, breaks) = (one.Number, 0);
                    yield return one;
                    if (one.IsLast)
                    {
                        yield break;
                    }
                }
            }
            finally
            {
                await CloseAsync(events);
            }

            instruments.Resubscribed();
            if (breaks >= BreaksMax)
            {
                throw new ApiException(ApiError.Unavailable);
            }

            TimeSpan pause = s_pauseMin * (breaks + 1);
            await Task.Delay(pause < s_pauseMax ? pause : s_pauseMax, clock, cancellation);
        }
    }

    /// <summary>Merges the events of several generations in order of arrival.</summary>
    public async IAsyncEnumerable<ImageEvent> MergeAsync(
        IReadOnlyList<GenerationKey> keys, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Channel<ImageEvent> merged = Channel.CreateBounded<ImageEvent>(EventsAhead);
        Task all = ForwardAllAsync(keys, merged.Writer, ending.Token);
        try
        {
            await foreach (ImageEvent one in merged.Reader.ReadAllAsync(cancellation))
            {
                yield return one;
            }

            cancellation.ThrowIfCancellationRequested();
        }
        finally
        {
            await ending.CancelAsync();
            await all;
        }
    }

    private async Task ForwardAllAsync(
        IReadOnlyList<GenerationKey> keys, ChannelWriter<ImageEvent> writer, CancellationToken cancellation)
    {
        await Task.WhenAll(keys.Select((key, image) => ForwardAsync(key, image, writer, cancellation)));
        writer.TryComplete();
    }

    private async Task ForwardAsync(
        GenerationKey key, int image, ChannelWriter<ImageEvent> writer, CancellationToken cancellation)
    {
        try
        {
            await foreach (GenerationEvent one in WatchAsync(key, EventNumber.Before, cancellation))
            {
                await writer.WriteAsync(new ImageEvent(image, one), cancellation);
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            // Nobody reads the merged stream anymore.
        }
        catch (Exception error)
        {
            // One failure ends the merged stream; the other images need not finish.
            writer.TryComplete(error);
        }
    }

    // Whether there is another event; null if the stream broke.
    private static async Task<bool?> NextAsync(IAsyncEnumerator<GenerationEvent> events, CancellationToken cancellation)
    {
        try
        {
            return await events.MoveNextAsync();
        }
        catch (Exception error) when (!cancellation.IsCancellationRequested && GrainCalls.IsBrokenWatch(error))
        {
            return null;
        }
    }

    private static async Task CloseAsync(IAsyncEnumerator<GenerationEvent> events)
    {
        try
        {
            await events.DisposeAsync();
        }
        catch (Exception error) when (GrainCalls.IsBrokenWatch(error))
        {
            // The grain drops an idle enumeration by itself.
        }
    }
}
