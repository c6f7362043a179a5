using Atelier.Model.Training;

namespace Atelier.Silo.Devices;

/// <summary>
/// A device's lane for a training engine that runs in this process: every piece of work borrows it, so that pictures
/// come in between.
/// </summary>
/// <param name="lane">The lane.</param>
/// <param name="limit">How long a piece of work may take.</param>
public sealed class TrainingLane(DeviceLane lane, TimeSpan limit) : IComputeLane
{
    /// <inheritdoc/>
    public T Run<T>(string what, Func<T> work) =>
        lane.IsCurrent ? work() // Somebody has borrowed the lane to call the engine on it.
#pragma warning disable VSTHRD002 // An engine is synchronous; its loop has a thread of its own, and never the lane's.
        : RunAsync(what, work).GetAwaiter().GetResult();
#pragma warning restore VSTHRD002

    private async Task<T> RunAsync<T>(string what, Func<T> work)
    {
        using DeviceLoan loan = await lane.AcquireAsync("training", CancellationToken.None);
        return await loan.RunAsync(what, limit, work);
    }
}
