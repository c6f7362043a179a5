// The names of device kinds. A kind covers everything that a picture's bits depend on besides its specification, so
// two devices of one kind give equal bytes. Where that is not certain, the names differ.
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Atelier.Model.Runtime;
using TorchSharp;

namespace Atelier.Silo.Devices;

/// <summary>Names of device kinds.</summary>
internal static class DeviceKinds
{
    /// <summary>
    /// The kind of this machine's processor: its model (libraries choose kernels by it), libtorch, threads within an
    /// operation, rows of a forward pass.
    /// </summary>
    public static string Cpu(int threads, int width)
    {
        string processor = X86Base.IsSupported
            ? $"{X86Base.CpuId(1, 0).Eax & 0x0FFF0FF0:x8}-{InstructionSet()}"
            : RuntimeInformation.ProcessArchitecture.ToString();
        string torch = typeof(torch).Assembly.GetName().Version!.ToString(3);
        bool isOther = Environment.GetEnvironmentVariable(Libtorch.FolderVariable) is { Length: > 0 };
        return $"cpu-{processor}-torchsharp-{torch}{(isOther ? "x" : "")}-f32-t{threads}-w{width}".ToLowerInvariant();
    }

    private static string InstructionSet() =>
        Environment.GetEnvironmentVariable("ATEN_CPU_CAPABILITY") is { Length: > 0 } asked ? asked
        : Avx512F.IsSupported ? "avx512" : Avx2.IsSupported ? "avx2" : "sse";
}
