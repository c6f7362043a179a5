// A number of threads of libtorch for a piece of work, because the bits of products and sums depend on it.
using static TorchSharp.torch;

namespace Atelier.Model.Runtime;

/// <summary>
/// Gives the calling thread a number of threads of libtorch until it is disposed, on the same thread. Null changes
/// nothing.
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
