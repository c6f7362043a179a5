// The grains as one silo's API calls them: a test waits until the API watches generations, and until it has stopped
// watching.
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Atelier.Contracts.Generations;

namespace Atelier.Silo.Tests.Api;

/// <summary>Passes calls on and counts two kinds of them.</summary>
internal sealed class WatchedGrains
{
    private readonly Channel<bool> _watching = Channel.CreateUnbounded<bool>(), _left = Channel.CreateUnbounded<bool>();

    public IGrainFactory Factory { get; private init; } = null!;

    /// <summary>Called before a stream of events begins; it may wait.</summary>
    public Func<Task>? Watching { get; set; }

    public static WatchedGrains Over(IGrainFactory grains)
    {
        WatchedGrains watched = null!;
        watched = new WatchedGrains
        {
            Factory = Forwarding.To(
                grains, (_, grain) => grain is IGenerationGrain one ? watched!.Counted(one) : grain),
        };
        return watched;
    }

    /// <summary>Waits until that many streams of events have begun.</summary>
    public Task WatchingAsync(int streams) => CountAsync(_watching, streams);

    /// <summary>Waits until that many watches have ended.</summary>
    public Task LeftAsync(int generations) => CountAsync(_left, generations);

    private static async Task CountAsync(Channel<bool> calls, int count)
    {
        for (int i = 0; i < count; i++)
        {
            await calls.Reader.ReadAsync(ApiCluster.Cancellation);
        }
    }

    private IGenerationGrain Counted(IGenerationGrain generation) =>
        Forwarding.To(generation, (method, answer) => answer switch
        {
            IAsyncEnumerable<GenerationEvent> events => WatchAsync(events),
            Task<GenerationView?> view when method == nameof(IGenerationGrain.CancelUnwatchedAsync) => LeaveAsync(view),
            _ => answer,
        });

    private async IAsyncEnumerable<GenerationEvent> WatchAsync(
        IAsyncEnumerable<GenerationEvent> events, [EnumeratorCancellation] CancellationToken cancellation = default)
    {
        await (Watching?.Invoke() ?? Task.CompletedTask);
        bool hasBegun = false;
        await foreach (GenerationEvent one in events.WithCancellation(cancellation))
        {
            if (!hasBegun)
            {
                hasBegun = true;
                _watching.Writer.TryWrite(true);
            }

            yield return one;
        }
    }

#pragma warning disable VSTHRD003 // The grain's answer, on its way to the API.
    private async Task<GenerationView?> LeaveAsync(Task<GenerationView?> view)
    {
        GenerationView? left = await view;
        _left.Writer.TryWrite(true);
        return left;
    }
#pragma warning restore VSTHRD003

    /// <summary>Calls the wrapped object and changes the answers.</summary>
    public class Forwarding : DispatchProxy
    {
        private object _target = null!;
        private Func<string, object?, object?> _change = null!;

        internal static T To<T>(T target, Func<string, object?, object?> change) where T : class
        {
            T proxy = Create<T, Forwarding>();
            var forwarding = (Forwarding)(object)proxy;
            (forwarding._target, forwarding._change) = (target, change);
            return proxy;
        }

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) =>
            _change(targetMethod!.Name, targetMethod.Invoke(_target, args));
    }
}
