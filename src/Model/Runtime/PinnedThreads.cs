// A fixed number of libtorch threads for a piece of work. The bits of products and sums depend on this number.
using static TorchSharp.torch;

namespace Atelier.Model.Runtime;

/// <summary>
/// Sets the number of libtorch threads for the calling thread until this value is disposed, which must happen on the
/// same thread. A null number changes nothing.
/// </summary>
internal readonly struct PinnedThreads : IDisposable
{
    private readonly int _before;

    public PinnedThreads(int? threads)
    {
        if (threads is { } count)
        {
            _before = get_num_threads();
            set_num_threads(count);
        }
    }

    public void Dispose()
    {
        if (_before > 0)
        {
            set_num_threads(_before);
        }
    }
}
