// The names of device kinds. A kind covers everything that a picture's bits depend on besides its specification, so
// two devices of one kind give equal bytes. Where that is not certain, the names differ.
using Atelier.Model.Runtime;

namespace Atelier.Silo.Devices;

/// <summary>Names of device kinds.</summary>
internal static class DeviceKinds
{
    /// <summary>
    /// The kind of this machine's processor: its model and libtorch, threads within an operation, rows of a forward
    /// pass.
    /// </summary>
    public static string Cpu(int threads, int width) => $"{ProcessorKind.Name}-f32-t{threads}-w{width}";
}
