using Atelier.Model.Weights;
using Xunit;
using static TorchSharp.torch;

namespace Atelier.Model.Tests.Weights;

public sealed class TensorPiecesTests
{
    [Theory]
    [InlineData(1, 4)]
    [InlineData(8, 4)]
    [InlineData(11, 4)]
    [InlineData(11, 100)]
    public void Numbers_AreCopiedToATensorAndBack_PieceByPiece(int count, int size)
    {
        float[] numbers = [.. Enumerable.Range(1, count).Select(i => i * 1.5f)];
        using Tensor tensor = zeros(count);

        TensorPieces.Write(numbers, tensor, size);
        var read = new float[count];
        TensorPieces.Read(tensor, read, size);

        Assert.Equal(numbers, tensor.data<float>().ToArray());
        Assert.Equal(numbers, read);
    }

    [Fact]
    public void Pieces_AreViewsOfTheTensor_InOrder_AndNoLongerThanAsked()
    {
        using Tensor tensor = arange(10, dtype: ScalarType.Float32).view(2, 5);

        var pieces = TensorPieces.Of(tensor, 4).ToArray();
        foreach ((_, Tensor piece) in pieces)
        {
            piece.add_(1);
        }

        Assert.Equal([0L, 4, 8], pieces.Select(one => one.First));
        Assert.Equal([4L, 4, 2], pieces.Select(one => one.Piece.numel()));
        Assert.Equal(Enumerable.Range(1, 10).Select(i => (float)i), tensor.data<float>().ToArray());
    }

    [Theory]
    [InlineData(3)]
    [InlineData(5)]
    public void MemoryOfAnotherLength_IsRejected_BeforeAnythingIsCopied(int count)
    {
        using Tensor tensor = zeros(4);
        var numbers = new float[count];
        Array.Fill(numbers, 7);

        string message = Assert.Throws<ArgumentException>(() => TensorPieces.Write(numbers, tensor)).Message;
        Assert.Throws<ArgumentException>(() => TensorPieces.Read(tensor, numbers));

        Assert.StartsWith(
            $"The tensor has 4 elements, but the memory has {count} numbers.", message, StringComparison.Ordinal);
        Assert.Equal(0, tensor.sum().item<float>());
        Assert.All(numbers, number => Assert.Equal(7, number));
    }
}
