namespace Atelier.Model.Training;

/// <summary>
/// Where an engine computes if not on the threads that call it: a device's thread, which others use in turn.
/// </summary>
public interface IComputeLane
{
    /// <summary>Does a piece of work there, and waits for it.</summary>
    /// <param name="what">What it is, for errors.</param>
    /// <param name="work">The work.</param>
    T Run<T>(string what, Func<T> work);
}
