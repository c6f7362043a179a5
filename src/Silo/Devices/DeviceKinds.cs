// The names of device kinds. A kind covers everything that a picture's bits depend on besides its specification, so two
// devices of the same kind produce identical bytes. Where that is not certain, the names differ.
using Atelier.Model.Runtime;

namespace Atelier.Silo.Devices;

/// <summary>Names of device kinds.</summary>
internal static class DeviceKinds
{
    /// <summary>
    /// The kind of this machine's processor: its model, the version of libtorch, the number of threads within an
    /// operation, and the number of rows of a forward pass.
    /// </summary>
    public static string Cpu(int threads, int width) => $"{ProcessorKind.Name}-f32-t{threads}-w{width}";
}
