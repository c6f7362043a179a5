// On some processors the AVX kernels of oneDNN give a convolution's gradient other bits in each run (docs/log.md,
// 2026-11-30). These tests are about the code that trains, so they use kernels that are reproducible on every one.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Atelier.Shapes.Tests;

internal static class Kernels
{
    // Native code reads libc's variables, which .NET does not change.
    [ModuleInitializer]
    internal static void UseReproducible() => _ = SetNativeVariable("ONEDNN_MAX_CPU_ISA", "SSE41", overwrite: 0);

    [DllImport(
        "libc", EntryPoint = "setenv", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetNativeVariable(string name, string value, int overwrite);
}
