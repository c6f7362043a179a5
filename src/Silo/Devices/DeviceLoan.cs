namespace Atelier.Silo.Devices;

/// <summary>
/// The right to use a device's lane, until the loan is disposed or cancelled. Work in flight is finished first; then
/// the lane passes to the next waiter.
/// </summary>
public sealed class DeviceLoan : IDisposable
{
    private readonly DeviceLane _lane;
    private CancellationTokenRegistration _whenCancelled;

    internal DeviceLoan(
        DeviceLane lane, string owner, TaskCompletionSource<DeviceLoan> granted, CancellationToken cancellation) =>
        (_lane, Owner, Granted, Cancellation) = (lane, owner, granted, cancellation);

    /// <summary>Name of the owner.</summary>
    public string Owner { get; }

    /// <summary>Whether another owner waits for the lane.</summary>
    public bool IsWanted => _lane.IsWanted();

    internal TaskCompletionSource<DeviceLoan> Granted { get; }

    internal CancellationToken Cancellation { get; }

    /// <summary>Timestamp of the request for the lane.</summary>
    internal long RequestedAt { get; init; }

    // Guarded by the lane's lock.
    internal bool IsOver { get; set; }

    /// <summary>
    /// Runs a piece of work on the lane's thread. An owner may have only one piece of work in flight at a time.
    /// </summary>
    /// <param name="what">Description of the work, for the error if it takes too long.</param>
    /// <param name="limit">The longest time that the work may take.</param>
    /// <param name="work">The work.</param>
    /// <exception cref="InvalidOperationException">
    /// The loan has ended, the previous piece of work is not finished, or the device is lost.
    /// </exception>
    /// <exception cref="OperationCanceledException">The loan was cancelled.</exception>
    /// <exception cref="DeviceLostException">The work took too long, or left the device unusable.</exception>
    public Task<T> RunAsync<T>(string what, TimeSpan limit, Func<T> work) => _lane.RunAsync(this, what, limit, work);

    /// <summary>Returns the lane, either at once or when the piece of work in flight ends.</summary>
    public void Dispose()
    {
        _whenCancelled.Unregister();
        _lane.Release(this);
    }

    internal void EndWhenCancelled() => _whenCancelled = Cancellation.UnsafeRegister(
        static (loan, token) => ((DeviceLoan)loan!)._lane.Cancel((DeviceLoan)loan!, token), this);
}
