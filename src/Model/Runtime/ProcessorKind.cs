// The part of a device kind's name that depends on this machine's processor and libtorch. Two processes with equal
// names compute equal bits if they use the same number of threads and the same precision. Where that is not certain,
// the names differ.
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Atelier.Model.Runtime;

/// <summary>Names of this machine's processor and libtorch.</summary>
public static class ProcessorKind
{
    /// <summary>
    /// The name: the processor's model, by which libraries choose kernels, its instruction set, and the version of
    /// TorchSharp.
    /// </summary>
    public static string Name { get; } = NameOfProcessor();

    /// <summary>
    /// The name for training. Training may compute in bfloat16, for which oneDNN chooses the kernels, so the limit on
    /// oneDNN's instruction set is appended if there is one.
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
