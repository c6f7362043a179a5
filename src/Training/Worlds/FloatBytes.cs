// A view of numbers as bytes, so that they are sent from, and received into, the memory in which they are used.
using System.Buffers;
using System.Runtime.InteropServices;

namespace Atelier.Training.Worlds;

/// <summary>A view of float32 numbers as little-endian bytes, without a copy. At most 2^29 - 1 numbers.</summary>
internal sealed class FloatBytes(Memory<float> floats) : MemoryManager<byte>
{
    /// <inheritdoc/>
    public override Span<byte> GetSpan() => MemoryMarshal.AsBytes(floats.Span);

    /// <inheritdoc/>
    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        MemoryHandle handle = floats.Pin();
        return new MemoryHandle((byte*)handle.Pointer + elementIndex, pinnable: new PinnedFloats(handle));
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
        // The handle releases its own pin.
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // The memory belongs to the caller.
    }

    private sealed class PinnedFloats(MemoryHandle handle) : IPinnable
    {
        public MemoryHandle Pin(int elementIndex) => throw new NotSupportedException();

        void IPinnable.Unpin() => handle.Dispose();
    }
}
