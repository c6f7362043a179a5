// Renderings as tensors.
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>Rendered 8-bit pictures of one size, held without libtorch.</summary>
/// <param name="Rgb">[count, side, side, 3].</param>
/// <param name="Count">Number of pictures.</param>
/// <param name="Side">Side in pixels.</param>
internal sealed record Pictures(byte[] Rgb, int Count, int Side)
{
    /// <summary>Renders scenes.</summary>
    public static Pictures Render(SceneRenderer renderer, IReadOnlyList<Scene> scenes, int side)
    {
        int bytes = 3 * side * side;
        var rgb = new byte[scenes.Count * bytes];
        for (int i = 0; i < scenes.Count; i++)
        {
            renderer.Render(scenes[i], side, rgb.AsSpan(i * bytes, bytes));
        }

        return new Pictures(rgb, scenes.Count, side);
    }

    /// <summary>Converts the pictures to [count, 3, side, side] float32 in [-1, 1].</summary>
    public Tensor ToTensor()
    {
        using var scope = NewDisposeScope();
        Tensor bytes = tensor(Rgb, [Count, Side, Side, 3], ScalarType.Byte);
        return bytes.permute(0, 3, 1, 2).to(ScalarType.Float32).div_(127.5f).sub_(1).contiguous()
            .MoveToOuterDisposeScope();
    }
}
