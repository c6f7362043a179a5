// Copies between tensors and memory. A span holds at most 2 GiB, but the flat weights of a full-size network take more,
// so a tensor is copied piece by piece.
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace Atelier.Model.Weights;

/// <summary>Copies the numbers of tensors of any size.</summary>
public static class TensorPieces
{
    /// <summary>
    /// Number of elements of a piece: 16 MiB of float32, enough for fast disk reads and too little to matter for
    /// memory.
    /// </summary>
    public const int Elements = 4 << 20;

    /// <summary>
    /// Returns a tensor's elements in order, as one-dimensional views of at most <paramref name="size"/> elements. The
    /// caller disposes the views.
    /// </summary>
    /// <param name="tensor">The tensor; it must be contiguous.</param>
    /// <param name="size">Maximum number of elements of a piece.</param>
    public static IEnumerable<(long First, Tensor Piece)> Of(Tensor tensor, long size = Elements)
    {
        using Tensor own = tensor.detach();
        using Tensor flat = own.view(-1);
        long all = flat.numel();
        for (long first = 0; first < all; first += size)
        {
            yield return (first, flat.narrow(0, first, Math.Min(size, all - first)));
        }
    }

    /// <summary>
    /// Returns a tensor's elements in order, as one-dimensional tensors on the CPU. Each is valid until the next one is
    /// requested.
    /// </summary>
    /// <param name="tensor">The tensor, on any device; it must be contiguous.</param>
    /// <param name="size">Maximum number of elements of a piece.</param>
    public static IEnumerable<(long First, Tensor Local)> LocalOf(Tensor tensor, long size = Elements)
    {
        foreach ((long first, Tensor piece) in Of(tensor, size))
        {
            using (piece)
            using (Tensor local = piece.cpu())
            {
                yield return (first, local);
            }
        }
    }

    /// <summary>Copies a float32 tensor, on any device, to memory.</summary>
    /// <param name="from">The tensor; it must be contiguous.</param>
    /// <param name="to">The numbers; as many as the tensor has elements.</param>
    /// <param name="size">Maximum number of elements of a piece.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void Read(Tensor from, Span<float> to, long size = Elements)
    {
        CheckLength(from, to.Length);
        foreach ((long first, Tensor local) in LocalOf(from, size))
        {
            MemoryMarshal.Cast<byte, float>(local.bytes).CopyTo(to[(int)first..]);
        }
    }

    /// <summary>Copies memory to a float32 tensor on any device.</summary>
    /// <param name="from">The numbers; as many as the tensor has elements.</param>
    /// <param name="to">The tensor; it must be contiguous.</param>
    /// <param name="size">Maximum number of elements of a piece.</param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void Write(ReadOnlySpan<float> from, Tensor to, long size = Elements)
    {
        CheckLength(to, from.Length);
        using IDisposable noGradients = no_grad();
        foreach ((long first, Tensor piece) in Of(to, size))
        {
            using (piece)
            {
                ReadOnlySpan<float> numbers = from.Slice((int)first, (int)piece.numel());
                if (piece.device.type == TorchSharp.DeviceType.CPU)
                {
                    numbers.CopyTo(MemoryMarshal.Cast<byte, float>(piece.bytes));
                    continue;
                }

                using Tensor staged = empty(piece.shape);
                numbers.CopyTo(MemoryMarshal.Cast<byte, float>(staged.bytes));
                piece.copy_(staged);
            }
        }
    }

    private static void CheckLength(Tensor tensor, int numbers)
    {
        if (tensor.numel() != numbers)
        {
            throw new ArgumentException(
                $"The tensor has {tensor.numel()} elements, but the memory has {numbers} numbers.", nameof(tensor));
        }
    }
}
