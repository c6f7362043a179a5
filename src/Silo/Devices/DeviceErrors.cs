// The meaning of libtorch's exceptions: the request did not fit into memory, a kernel failed, or the device is lost.
using System.Runtime.InteropServices;
using Atelier.Contracts.Generations;
using Atelier.Grains.Ports;

namespace Atelier.Silo.Devices;

/// <summary>Thrown when a device stops working and will not recover until the process is restarted.</summary>
/// <param name="message">The reason, in a sentence.</param>
/// <param name="inner">The cause.</param>
public sealed class DeviceLostException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Classifies libtorch's errors by their messages, because they differ in nothing else.</summary>
internal static class DeviceErrors
{
    private static readonly string[] s_memory =
        ["out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "std::bad_alloc"];

    // After these the CUDA context is unusable: every later call gives the same error.
    private static readonly string[] s_sticky = ["CUDA error", "CUDA driver error", "CUBLAS_STATUS", "CUDNN_STATUS"];

    /// <summary>Translates an exception for the caller.</summary>
    public static Exception Of(Exception error) => error switch
    {
        OutOfMemoryException => NoMemory(error),
        ExternalException when Says(error, s_memory) => NoMemory(error),
        ExternalException when Says(error, s_sticky) =>
            new DeviceLostException($"The device is lost: {FirstLine(error)}", error),
        ExternalException => new DeviceException(
            GenerationError.KernelFailed, $"The device could not complete this work: {FirstLine(error)}", error),
        _ => error,
    };

    private static DeviceException NoMemory(Exception error) => new(
        GenerationError.OutOfMemory, "The device does not have enough memory for this work.", error);

    private static bool Says(Exception error, string[] words) =>
        Array.Exists(words, word => error.Message.Contains(word, StringComparison.OrdinalIgnoreCase));

    private static string FirstLine(Exception error) => error.Message.Split('\n')[0];
}
