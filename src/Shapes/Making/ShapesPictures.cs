// The demo world as a source of captioned pictures.
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Making;

/// <summary>Scenes of one seed without held-out combinations, each with one caption.</summary>
/// <param name="seed">Seed of scenes and captions.</param>
/// <param name="count">Number of pictures.</param>
public sealed class ShapesPictures(ulong seed, long count) : ICaptionedPictures, IDisposable
{
    private readonly SceneSampler _sampler = new(seed);
    private readonly ThreadLocal<SceneRenderer> _renderers = new(() => new SceneRenderer(), trackAllValues: true);

    /// <inheritdoc/>
    public long Count { get; } = count;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation) =>
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["source"] = $"scenes of the demo world, seed {seed}, from \"{Caption(0)}\" to \"{Caption(Count - 1)}\"",
        };

    /// <inheritdoc/>
    public string Caption(long index) => Captioner.Write(_sampler.Draw(index), seed, index).Text;

    /// <inheritdoc/>
    public RgbImage Picture(long index, int side) => _renderers.Value!.Render(_sampler.Draw(index), side);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SceneRenderer renderer in _renderers.Values)
        {
            renderer.Dispose();
        }

        _renderers.Dispose();
    }
}
