// The loader of libtorch: from the package beside the program, or from the folder given by ATELIER_LIBTORCH.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Atelier.Model.Runtime;

/// <summary>libtorch could not be loaded. The message says what is missing and how to get it.</summary>
public sealed class LibtorchException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Loads libtorch, and configures it before its first operation.</summary>
public static class Libtorch
{
    /// <summary>
    /// Environment variable that names the folder of another libtorch, for example that of a PyTorch installation.
    /// </summary>
    public const string FolderVariable = "ATELIER_LIBTORCH";

    // The variable that limits the instruction set that oneDNN uses, and its highest value without AMX.
    private const string InstructionSetVariable = "ONEDNN_MAX_CPU_ISA", WithoutAmx = "AVX512_CORE_FP16";

    // The variable for the least severity of the messages that libtorch prints on standard error, and the function that
    // reads it: c10::initLogging(), which libtorch calls in Python only.
    private const string SeverityVariable = "TORCH_CPP_LOG_LEVEL", ReadSeverity = "_ZN3c1011initLoggingEv";

    // The libraries, in the order of their dependencies. Not every build has all of them.
    private static readonly string[] s_libraries =
        ["libc10.so", "libtorch_cpu.so", "libc10_cuda.so", "libtorch_cuda.so", "libtorch.so"];

    // Libtorch's warnings are for its own programmers: on some processors, each convolution prints one.
    private static readonly Lazy<bool> s_isQuiet = new(() =>
    {
        _ = SetNativeVariable(SeverityVariable, "ERROR", overwrite: 0);
        if (NativeLibrary.TryLoad("libc10.so", out nint library)
            && NativeLibrary.TryGetExport(library, ReadSeverity, out nint read))
        {
            Marshal.GetDelegateForFunctionPointer<Action>(read)();
            return true;
        }

        return false;
    });

    private static LibtorchException? s_problem;

    /// <summary>
    /// Loads libtorch, or throws an exception that gives the reason in one sentence. May be called more than once.
    /// </summary>
    /// <exception cref="LibtorchException">No suitable libtorch was found.</exception>
    public static void Load()
    {
        if (s_problem is not null)
        {
            throw s_problem;
        }

        try
        {
            _ = TorchSharp.torch.CPU;
            using TorchSharp.torch.Tensor probe = TorchSharp.torch.zeros(1);
            _ = s_isQuiet.Value;
        }
        catch (Exception error) when (error
            is TypeInitializationException or DllNotFoundException or NotSupportedException
                or EntryPointNotFoundException)
        {
            throw new LibtorchException(
                "libtorch could not be loaded: this program needs Linux x64 with glibc 2.34 or newer, and libtorch "
                + "2.10, which either comes from a build with -p:TorchBackend=cpu or is in the folder that "
                + $"{FolderVariable} names. "
                + $"The loader says: {(error.InnerException ?? error).Message.Split('\n')[0]}",
                error);
        }
    }

    // Runs before any other code of this assembly, and so before libtorch reads its environment variables or TorchSharp
    // searches for libtorch.
#pragma warning disable CA2255 // Nothing else runs first in every host, including test runners.
    [ModuleInitializer]
#pragma warning restore CA2255
    internal static void Prepare()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return; // Load() reports what is supported.
        }

        // glibc would return the pages of every large tensor to the system and map them again for the next one, which
        // took a third of the time when training small networks.
        const int trimThreshold = -1, mmapThreshold = -3;
        _ = SetAllocator(trimThreshold, 256 << 20);
        _ = SetAllocator(mmapThreshold, 64 << 20);
        if (HasUnusableAmx())
        {
            _ = SetNativeVariable(InstructionSetVariable, WithoutAmx, overwrite: 0);
        }

        if (Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } folder)
        {
            try
            {
                Preload(folder);
            }
            catch (LibtorchException error)
            {
                s_problem = error; // If thrown here, it would end the program before the message could be printed.
            }
        }
    }

    // TorchSharp's native library uses libraries that are already loaded, whatever folder they come from.
    private static void Preload(string folder)
    {
        if (!File.Exists(Path.Combine(folder, "libtorch_cpu.so")))
        {
            throw new LibtorchException(
                $"{FolderVariable} is {folder}, but that folder has no libtorch_cpu.so; the variable must name the lib "
                + "folder of libtorch 2.10 or of an installed torch package (torch/lib).");
        }

        foreach (string path in s_libraries.Select(name => Path.Combine(folder, name)).Where(File.Exists))
        {
            try
            {
                NativeLibrary.Load(path);
            }
            catch (DllNotFoundException error)
            {
                throw new LibtorchException(
                    $"{path} could not be loaded, although {FolderVariable} names its folder: "
                    + error.Message.Split('\n')[0], error);
            }
        }
    }

    /// <summary>Gets the instruction set that oneDNN is limited to; null if there is no limit.</summary>
    internal static string? InstructionSetMax =>
        Environment.GetEnvironmentVariable(InstructionSetVariable) is { Length: > 0 } asked ? asked
        : X86Base.IsSupported && HasUnusableAmx() ? WithoutAmx
        : null;

    /// <summary>
    /// Gets the precision in which this processor trains and encodes fastest: bfloat16 if it has instructions for it
    /// (AVX512_BF16) and ONEDNN_MAX_CPU_ISA permits them, otherwise float32.
    /// </summary>
    public static TorchSharp.torch.ScalarType FastPrecision { get; } =
        X86Base.IsSupported && Avx512F.IsSupported && (X86Base.CpuId(7, 1).Eax >> 5 & 1) == 1
        && HasBFloat16(Environment.GetEnvironmentVariable(InstructionSetVariable))
            ? TorchSharp.torch.ScalarType.BFloat16 : TorchSharp.torch.ScalarType.Float32;

    /// <summary>
    /// Whether oneDNN multiplies in bfloat16 natively when it is limited to an instruction set. Emulated products take
    /// many times as long as products in float32.
    /// </summary>
    /// <param name="isa">A value of ONEDNN_MAX_CPU_ISA; null if it is not set.</param>
    internal static bool HasBFloat16(string? isa) => isa?.ToUpperInvariant() is not (
        "SSE41" or "AVX" or "AVX2" or "AVX2_VNNI" or "AVX2_VNNI_2" or "AVX512_CORE" or "AVX512_CORE_VNNI");

    // Some virtual machines advertise AMX but hide its tile palettes; the kernels chosen for it then crash the process.
    private static bool HasUnusableAmx() => X86Base.IsSupported
        && ((X86Base.CpuId(7, 0).Edx >> 22) & 1) == 1
        && (X86Base.CpuId(0, 0).Eax < 0x1D || X86Base.CpuId(0x1D, 0).Eax == 0);

    // Environment.SetEnvironmentVariable changes only .NET's copy; native code reads libc's.
    [DllImport(
        "libc", EntryPoint = "setenv", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetNativeVariable(string name, string value, int overwrite);

    [DllImport("libc", EntryPoint = "mallopt")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetAllocator(int parameter, int value);
}
