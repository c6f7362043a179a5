using static TorchSharp.torch;

namespace Atelier.Silo.Devices;

/// <summary>A small piece of work whose result is known.</summary>
internal static class DeviceProbe
{
    private const int Width = 64;

    /// <summary>Multiplies two matrices of ones on the calling thread.</summary>
    /// <exception cref="DeviceLostException">The result is wrong.</exception>
    public static bool Run()
    {
        // Each element of the product is the width.
        using var scope = NewDisposeScope();
        float sum = ones(Width, Width).mm(ones(Width, Width)).sum().item<float>();
        return sum == Width * Width * Width
            ? true
            : throw new DeviceLostException($"The device computed {sum}; the right result is {Width * Width * Width}.");
    }
}
