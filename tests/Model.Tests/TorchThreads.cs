// The runner spreads test classes over all cores. Threads of libtorch's own under each of them would only wait for each
// other, many times longer than they work. Tests that are about threads ask for a number themselves.
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace Atelier.Model.Tests;

internal static class TorchThreads
{
    [ModuleInitializer]
    internal static void UseOne()
    {
        Model.Runtime.Libtorch.Prepare();
        set_num_threads(1);
    }
}
