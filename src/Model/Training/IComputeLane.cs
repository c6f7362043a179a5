namespace Atelier.Model.Training;

/// <summary>
/// A place where an engine computes instead of on the calling threads: the thread of a device, which is shared with
/// other work.
/// </summary>
public interface IComputeLane
{
    /// <summary>Runs a piece of work on the lane, waits for it and returns its result.</summary>
    /// <param name="what">Description of the work, for error messages.</param>
    /// <param name="work">The work.</param>
    T Run<T>(string what, Func<T> work);
}
