// The oracle: a network that finds things, background and style in pictures.
using System.Runtime.InteropServices;
using Atelier.Model;
using Atelier.Model.Imaging;
using Atelier.Model.Weights;
using Atelier.Shapes.Scenes;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Shapes.Judging;

/// <summary>A trained oracle. Its results depend only on the picture. Not thread-safe.</summary>
public sealed class Oracle : IDisposable
{
    /// <summary>Identifier of the file format, under "format" in the metadata.</summary>
    public const string Format = "atelier-oracle-1";

    /// <summary>Maximum number of pictures in a batch; more pictures are split into several batches.</summary>
    public const int BatchMax = 64;

    // Confidence above which a thing counts as present, and the maximum number of things listed, which is more than any
    // caption asks for.
    private const float Sure = 0.35f;
    private const int ThingsMax = 16;

    private static readonly int s_kinds = Enum.GetValues<ThingKind>().Length;
    private static readonly int s_colors = Enum.GetValues<ThingColor>().Length;

    private readonly OracleNetwork _network;

    internal Oracle(OracleNetwork network)
    {
        _network = network;
        _network.eval();
    }

    /// <summary>Number of parameters of the network.</summary>
    public long Parameters => _network.parameters().Sum(parameter => parameter.numel());

    /// <summary>Loads an oracle from a safetensors file.</summary>
    /// <exception cref="RefusedFileException">The file is damaged, or is not an oracle of this format.</exception>
    public static Oracle Load(string path)
    {
        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        if (file.Metadata.GetValueOrDefault("format") is var format && format != Format)
        {
            throw new RefusedFileException(
                path, "metadata", $"format is \"{format}\"; an oracle must have \"{Format}\"");
        }

        var network = new OracleNetwork();
        StrictLoader.Load(network, file, checkFinite: true);
        return new Oracle(network);
    }

    /// <summary>Saves a network in half precision, with metadata about its origin.</summary>
    internal static void Save(OracleNetwork network, string path, IReadOnlyDictionary<string, string> metadata) =>
        StateDictFile.Save(
            network, path, ElementType.Float16,
            new Dictionary<string, string>(metadata, StringComparer.Ordinal) { ["format"] = Format });

    /// <summary>Analyzes one picture.</summary>
    public Perception Look(RgbImage image) => Look([image])[0];

    /// <summary>Analyzes square pictures of one size, whose side is a multiple of 64 pixels.</summary>
    public IReadOnlyList<Perception> Look(IReadOnlyList<RgbImage> images)
    {
        ArgumentNullException.ThrowIfNull(images);
        var seen = new List<Perception>(images.Count);
        foreach (RgbImage[] chunk in images.Chunk(BatchMax))
        {
            using var scope = NewDisposeScope();
            seen.AddRange(Look(ToTensor(chunk)));
        }

        return seen;
    }

    /// <summary>Analyzes pictures [B, 3, S, S] in [-1, 1], where S is a multiple of 64.</summary>
    public IReadOnlyList<Perception> Look(Tensor pictures)
    {
        ArgumentNullException.ThrowIfNull(pictures);
        if (pictures.dim() != 4 || pictures.shape[1] != 3 || pictures.shape[2] != pictures.shape[3]
            || pictures.shape[2] % OracleNetwork.Side != 0)
        {
            throw new ArgumentException(
                $"Pictures must be [B, 3, S, S] with S a multiple of {OracleNetwork.Side}, "
                + $"not [{string.Join(", ", pictures.shape)}].",
                nameof(pictures));
        }

        using var inference = inference_mode();
        var seen = new List<Perception>((int)pictures.shape[0]);
        for (long first = 0; first < pictures.shape[0]; first += BatchMax)
        {
            using var scope = NewDisposeScope();
            Tensor batch = pictures.narrow(0, first, Math.Min(BatchMax, pictures.shape[0] - first));
            seen.AddRange(Read(_network.call(Reduce(batch.to(ScalarType.Float32)))));
        }

        return seen;
    }

    /// <summary>Converts pictures to [B, 3, S, S] in [-1, 1].</summary>
    internal static Tensor ToTensor(IReadOnlyList<RgbImage> images)
    {
        int side = images[0].Width;
        var values = new byte[images.Count * 3 * side * side];
        for (int i = 0; i < images.Count; i++)
        {
            if (images[i].Width != side || images[i].Height != side)
            {
                throw new ArgumentException(
                    $"Pictures must be square and of one size; one has {images[i].Width} x {images[i].Height} pixels, "
                    + $"the first has {side} columns.",
                    nameof(images));
            }

            images[i].Pixels.CopyTo(values, i * 3 * side * side);
        }

        using Tensor bytes = tensor(values, [images.Count, side, side, 3]);
        using Tensor floats = bytes.permute(0, 3, 1, 2).to(ScalarType.Float32);
        return floats.div(127.5).sub(1).contiguous();
    }

    /// <summary>Averages squares of pixels, [B, 3, S, S] to [B, 3, 64, 64].</summary>
    internal static Tensor Reduce(Tensor pictures)
    {
        long factor = pictures.shape[2] / OracleNetwork.Side;
        return factor == 1 ? pictures.alias() : functional.avg_pool2d(pictures, factor, factor);
    }

    /// <inheritdoc/>
    public void Dispose() => _network.Dispose();

    private static List<Perception> Read(OracleOutput output)
    {
        // A center is a cell with more confidence than its eight neighbors.
        Tensor sure = Finite.Check("oracle", output.Centers).sigmoid();                     // [B, K, G, G]
        Tensor peaks = sure.ge(functional.max_pool2d(sure, 3, 1, 1)).logical_and(sure.gt(Sure));
        long[] found = Values<long>(peaks.nonzero());                                       // [N, 4]: b, k, row, column
        float[] confidences = Values<float>(sure), boxes = Values<float>(output.Boxes);
        long[] colors = Values<long>(output.Colors.argmax(2));                            // [B, K, G, G]
        long[] backgrounds = Values<long>(output.Backgrounds.argmax(1));
        long[] styles = Values<long>(output.Styles.argmax(1));
        var things = new List<PerceivedThing>[backgrounds.Length];
        for (int i = 0; i < things.Length; i++)
        {
            things[i] = [];
        }

        const int cells = OracleNetwork.Grid * OracleNetwork.Grid;
        for (int i = 0; i < found.Length; i += 4)
        {
            (long row, long column) = (found[i + 2], found[i + 3]);
            long layer = (found[i] * s_kinds) + found[i + 1], cell = (row * OracleNetwork.Grid) + column;
            long box = (layer * 3 * cells) + cell;
            var spot = new Spot(
                (column + 0.5 + boxes[box]) / OracleNetwork.Grid, (row + 0.5 + boxes[box + cells]) / OracleNetwork.Grid,
                boxes[box + (2 * cells)]);
            things[found[i]].Add(new PerceivedThing(
                (ThingKind)found[i + 1], (ThingColor)colors[(layer * cells) + cell], spot,
                confidences[(layer * cells) + cell]));
        }

        return
        [
            .. things.Select((list, i) =>
                new Perception(Distinct(list), (Background)backgrounds[i], (ArtStyle)styles[i])),
        ];
    }

    // A thing may look like two kinds, or be between two cells. Of several detections at the same place, only the one
    // with the most confidence is kept.
    private static List<PerceivedThing> Distinct(List<PerceivedThing> candidates)
    {
        var kept = new List<PerceivedThing>();
        foreach (PerceivedThing candidate in candidates.OrderByDescending(thing => thing.Confidence))
        {
            if (kept.Count < ThingsMax && kept.TrueForAll(other => !FillSamePlace(other.Spot, candidate.Spot)))
            {
                kept.Add(candidate);
            }
        }

        return kept;
    }

    private static bool FillSamePlace(Spot a, Spot b)
    {
        double reach = 0.45 * Math.Min(a.Diameter, b.Diameter);
        return Math.Abs(a.X - b.X) < reach && Math.Abs(a.Y - b.Y) < reach
            && Math.Min(a.Diameter, b.Diameter) > 0.6 * Math.Max(a.Diameter, b.Diameter);
    }

    private static T[] Values<T>(Tensor tensor)
        where T : unmanaged
    {
        if (tensor.numel() == 0)
        {
            return [];
        }

        using Tensor flat = tensor.contiguous();
        return MemoryMarshal.Cast<byte, T>(flat.bytes).ToArray();
    }
}
