// Writes of grain states. After a failed write the stored state is unknown, and another activation may have written it:
// the grain deactivates, and the next activation starts from the stored state.
namespace Atelier.Grains;

/// <summary>Writes that deactivate the grain when they fail.</summary>
internal static class GrainStateExtensions
{
    /// <summary>Writes a grain's state; if that fails, deactivates the grain and rethrows.</summary>
    public static Task WriteOrDeactivateAsync<T>(this IPersistentState<T> state, IGrainBase grain) =>
        OrDeactivateAsync(state.WriteStateAsync, grain);

    /// <summary>Clears a grain's state; if that fails, deactivates the grain and rethrows.</summary>
    public static Task ClearOrDeactivateAsync<T>(this IPersistentState<T> state, IGrainBase grain) =>
        OrDeactivateAsync(state.ClearStateAsync, grain);

    /// <summary>
    /// Confirms that a grain's state is the stored one. During a network partition another activation may have written;
    /// the grain then deactivates.
    /// </summary>
    /// <exception cref="InvalidOperationException">The stored state is another one.</exception>
    public static async Task RereadOrDeactivateAsync<T>(this IPersistentState<T> state, IGrainBase grain)
    {
        string? held = state.Etag;
        await OrDeactivateAsync(state.ReadStateAsync, grain);
        if (state.Etag != held)
        {
            grain.DeactivateOnIdle();
            throw new InvalidOperationException("Another activation of the grain has changed its state; call again.");
        }
    }

    private static async Task OrDeactivateAsync(Func<Task> write, IGrainBase grain)
    {
        try
        {
            await write();
        }
        catch (Exception)
        {
            grain.DeactivateOnIdle();
            throw;
        }
    }
}
