// The runner spreads test classes over all cores; libtorch's own threads under each would only wait for each other.
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
