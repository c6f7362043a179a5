// Writes of grain states. After one that failed nobody knows what is stored, and another activation may have written:
// the grain deactivates, and the next call starts from the store.
namespace Atelier.Grains;

/// <summary>Writes that end the activation when they fail.</summary>
internal static class GrainStateExtensions
{
    /// <summary>Writes a grain's state; when that fails, deactivates the grain and passes the error on.</summary>
    public static Task WriteOrDeactivateAsync<T>(this IPersistentState<T> state, IGrainBase grain) =>
        OrDeactivateAsync(state.WriteStateAsync, grain);

    /// <summary>Clears a grain's state; when that fails, deactivates the grain and passes the error on.</summary>
    public static Task ClearOrDeactivateAsync<T>(this IPersistentState<T> state, IGrainBase grain) =>
        OrDeactivateAsync(state.ClearStateAsync, grain);

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
