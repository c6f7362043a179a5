// The runner spreads test classes over all cores. With libtorch's own threads under each of them, threads would wait
// for each other many times longer than they work. Tests of threading set a number themselves.
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
