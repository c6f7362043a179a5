// The runner spreads test classes over all cores; threads of libtorch's own under each would only wait for each other.
using System.Runtime.CompilerServices;
using Atelier.Model.Runtime;
using static TorchSharp.torch;

namespace Atelier.Silo.Tests;

internal static class TorchThreads
{
    [ModuleInitializer]
    internal static void UseOne()
    {
        Libtorch.Load();
        set_num_threads(1);
    }
}
