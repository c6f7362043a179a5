using Atelier.Model.Training;

namespace Atelier.Silo.Devices;

/// <summary>
/// A device's lane for a training engine in this process. Each piece of work borrows the lane, so that pictures can be
/// drawn in between.
/// </summary>
/// <param name="lane">The lane.</param>
/// <param name="limit">Time limit of a piece of work.</param>
public sealed class TrainingLane(DeviceLane lane, TimeSpan limit) : IComputeLane
{
    /// <inheritdoc/>
    public T Run<T>(string what, Func<T> work) =>
        lane.IsCurrent ? work() // The caller has borrowed the lane and runs on it.
#pragma warning disable VSTHRD002 // An engine is synchronous; its loop runs on its own thread, never on the lane's.
        : RunAsync(what, work).GetAwaiter().GetResult();
#pragma warning restore VSTHRD002

    /// <inheritdoc cref="DeviceLane.Free"/>
    public void Free(Action free) => lane.Free(free);

    private async Task<T> RunAsync<T>(string what, Func<T> work)
    {
        using DeviceLoan loan = await lane.AcquireAsync("training", CancellationToken.None);
        return await loan.RunAsync(what, limit, work);
    }
}
