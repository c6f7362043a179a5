// The part of a device kind's name that this machine's processor and libtorch decide: two processes with equal names
// compute equal bits with as many threads in the same precision. Where that is not certain, the names differ.
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Atelier.Model.Runtime;

/// <summary>Names of this machine's processor and libtorch.</summary>
public static class ProcessorKind
{
    /// <summary>The processor's model (libraries choose kernels by it), its instruction set, and libtorch.</summary>
    public static string Name { get; } = NameOfProcessor();

    /// <summary>
    /// The name for training, which also computes in bfloat16, where oneDNN chooses kernels: its limit is added if
    /// there is one.
    /// </summary>
    public static string TrainingName { get; } =
        Libtorch.InstructionSetMax is { } limit ? $"{Name}-onednn-{limit.ToLowerInvariant()}" : Name;

    private static string NameOfProcessor()
    {
        string processor = X86Base.IsSupported
            ? $"{X86Base.CpuId(1, 0).Eax & 0x0FFF0FF0:x8}-{InstructionSet()}"
            : RuntimeInformation.ProcessArchitecture.ToString();
        string torch = typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString(3);
        bool isOther = Environment.GetEnvironmentVariable(Libtorch.FolderVariable) is { Length: > 0 };
        return $"cpu-{processor}-torchsharp-{torch}{(isOther ? "x" : "")}".ToLowerInvariant();
    }

    private static string InstructionSet() =>
        Environment.GetEnvironmentVariable("ATEN_CPU_CAPABILITY") is { Length: > 0 } asked ? asked
        : Avx512F.IsSupported ? "avx512" : Avx2.IsSupported ? "avx2" : "sse";
}
