// Whether a model binds words to things: what the states of its text encoder hold at the nouns of a caption, what is
// left of it behind the denoiser's caption block, and how much the denoiser's output depends on a direction. Unlike the
// score of pictures, this takes seconds and moves early in a training.
using Atelier.Model;
using Atelier.Model.Networks;
using Atelier.Model.Pipeline;
using Atelier.Model.Randomness;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;
using Atelier.Shapes.Training;
using static TorchSharp.torch;

namespace Atelier.Shapes.Evaluating;

/// <summary>Accuracy of linear probes of the states at one place.</summary>
/// <param name="States">Which states: "text encoder" or "caption block".</param>
/// <param name="Place">At which token: "first noun", "second noun" or "last padding".</param>
/// <param name="Direction">Where the thing is relative to its partner, for seen combinations.</param>
/// <param name="DirectionHeldOut">The same for held-out combinations of kinds and relation.</param>
/// <param name="DirectionChance">The fraction of the most frequent direction.</param>
/// <param name="PartnerKind">The kind of the partner, seen combinations.</param>
/// <param name="PartnerKindHeldOut">The same for held-out combinations.</param>
public sealed record BindingProbe(
    string States, string Place, double Direction, double DirectionHeldOut, double DirectionChance, double PartnerKind,
    double PartnerKindHeldOut);

/// <summary>How far a change of the caption moves D(x; σ) for pure noise.</summary>
/// <param name="Sigma">The noise level.</param>
/// <param name="Sign">Root mean square of the change from a direction to its converse.</param>
/// <param name="Axis">Root mean square of the change from a direction to one on the other axis.</param>
public sealed record LayoutSensitivity(double Sigma, double Sign, double Axis)
{
    /// <summary>The sensitivity to the sign as a fraction of that to the axis; 1 if both matter as much.</summary>
    public double Ratio => Sign / Axis;
}

/// <summary>The results.</summary>
/// <param name="Probes">Accuracy of the probes.</param>
/// <param name="Sensitivities">The sensitivities, by noise level.</param>
public sealed record BindingScores(
    IReadOnlyList<BindingProbe> Probes, IReadOnlyList<LayoutSensitivity> Sensitivities)
{
    /// <summary>The direction that a text encoder's states must hold at both nouns, held out.</summary>
    public const double DirectionMin = 0.95;

    /// <summary>Whether the text encoder's states hold the direction at both nouns.</summary>
    public bool IsBound => Probes.All(probe =>
        probe.States != BindingMeasure.OfText || probe.Place == BindingMeasure.Last
        || probe.DirectionHeldOut >= DirectionMin);
}

/// <summary>Settings of the measurement.</summary>
public sealed record BindingSettings
{
    /// <summary>Number of captions to which the probes are fitted.</summary>
    public int Fitted { get; init; } = 8_000;

    /// <summary>Number of captions, seen and held out each, on which they are tested.</summary>
    public int Tested { get; init; } = 3_000;

    /// <summary>Number of pairs of things whose directions are changed.</summary>
    public int Pairs { get; init; } = 24;

    /// <summary>Seed of captions and noise.</summary>
    public ulong Seed { get; init; } = 1;
}

/// <summary>Measures a model. Not thread-safe.</summary>
public sealed class BindingMeasure : IDisposable
{
    internal const string OfText = "text encoder", OfBlock = "caption block";
    internal const string First = "first noun", Second = "second noun", Last = "last padding";

    private const int Chunk = 256;

    // Probes and training draw from different seeds even if both are given the same seed.
    private const ulong SeedOffset = 0x5052_4F42_4553_0001;

    private static readonly double[] s_sigmas = [80, 20, 5, 2.5];
    private static readonly string[] s_places = [First, Second, Last];

    private readonly ModelFolder _model;
    private readonly Encoders _encoders;
    private readonly MicroDiT _network;

    /// <summary>Loads a model.</summary>
    /// <exception cref="RefusedFileException">The model is damaged.</exception>
    public BindingMeasure(ModelFolder model)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        _encoders = Encoders.Load(model.Path);
        _network = new MicroDiT(model.DenoiserConfig);
        Encoders.LoadWeights(_network, model.PathOf(model.Denoiser));
    }

    /// <summary>Runs all probes, then measures the sensitivities.</summary>
    public BindingScores Run(BindingSettings settings, Action<double>? progress, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(settings);
        using var noGradients = no_grad();
        using var scope = NewDisposeScope();
        States fitted = Read(settings, settings.Fitted, Split.Seen, 0);
        States seen = Read(settings, settings.Tested, Split.Seen, settings.Fitted);
        States heldOut = Read(settings, settings.Tested, Split.HeldOut, 0);
        var probes = new List<BindingProbe>();
        foreach (string states in new[] { OfText, OfBlock })
        {
            foreach (string place in s_places)
            {
                cancellation.ThrowIfCancellationRequested();
                probes.Add(Probe(states, place, fitted, seen, heldOut));
                progress?.Invoke(probes.Count / 8.0);
            }
        }

        return new BindingScores(probes, [.. s_sigmas.Select(sigma =>
        {
            cancellation.ThrowIfCancellationRequested();
            return Sensitivity(sigma, settings);
        })]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _encoders.Dispose();
        _network.Dispose();
    }

    private static BindingProbe Probe(string states, string place, States fitted, States seen, States heldOut)
    {
        (double seen, double heldOut) Accuracy(NounFact fact)
        {
            using var probe = new LinearProbe(
                fitted.At(states, place), fitted.Facts(place, fact), NounFacts.Values(fact));
            return (
                probe.Accuracy(seen.At(states, place), seen.Facts(place, fact)),
                probe.Accuracy(heldOut.At(states, place), heldOut.Facts(place, fact)));
        }

        (double direction, double directionHeldOut) = Accuracy(NounFact.Direction);
        (double kind, double kindHeldOut) = Accuracy(NounFact.PartnerKind);
        long[] facts = heldOut.Facts(place, NounFact.Direction).data<long>().ToArray();
        double chance = facts.GroupBy(fact => fact).Max(group => group.Count()) / (double)facts.Length;
        return new BindingProbe(states, place, direction, directionHeldOut, chance, kind, kindHeldOut);
    }

    // Captions of two things in a relation, whose nouns both fit into the context.
    private States Read(BindingSettings settings, int count, Split split, long first)
    {
        ulong seed = settings.Seed + SeedOffset;
        var sampler = new SceneSampler(seed);
        Caption[] captions =
        [
            .. Enumerable.Range(0, count).Select(i => Captioner.Write(
                sampler.Draw(first + i, SceneTask.Position, split),
                default(Mentions) with { Colors = i % 2 == 0, Relation = true }, seed, first + i))
                .Where(caption => NounFacts.Of(caption, _encoders.Tokenizer).Length == 2),
        ];
        var nouns = NounBatch.Of(captions, _encoders.Tokenizer);
        int length = _encoders.Tokenizer.ContextLength;
        var (text, block) = (new List<Tensor>(), new List<Tensor>());
        using var scope = NewDisposeScope();
        for (int at = 0; at < captions.Length; at += Chunk)
        {
            using var one = NewDisposeScope();
            int here = Math.Min(Chunk, captions.Length - at), begin = at;
            Tensor hidden = _encoders.Text.Encode(
                tensor(nouns.Ids.AsSpan(at * length, here * length).ToArray(), [here, length]));   // [B, L, D]
            text.Add(AtPlaces(hidden).MoveToOuterDisposeScope());
            block.Add(AtPlaces(_network.CaptionTokens(hidden)).MoveToOuterDisposeScope());

            // The states at the nouns and at the last token, [B, 3, D].
            Tensor AtPlaces(Tensor states) => states.flatten(0, 1).index_select(
                0, tensor([.. Enumerable.Range(0, here).SelectMany(i => (long[])
                [
                    nouns.Places[2 * (begin + i)] - (begin * length),
                    nouns.Places[(2 * (begin + i)) + 1] - (begin * length), ((i + 1L) * length) - 1,
                ])])).view(here, s_places.Length, -1).to(ScalarType.Float32);
        }

        return new States(
            cat([.. text]).MoveToOuterDisposeScope(), cat([.. block]).MoveToOuterDisposeScope(), nouns,
            captions.Length);
    }

    // The same two things in all four directions, in the same words but for the direction.
    private LayoutSensitivity Sensitivity(double sigma, BindingSettings settings)
    {
        using var scope = NewDisposeScope();
        string[] relations = ["above", "below", "to the left of", "to the right of"];
        (double sign, double axis) = (0, 0);
        int size = _network.Config.InputSize;
        var sampler = new SceneSampler(settings.Seed + SeedOffset);
        for (int pair = 0; pair < settings.Pairs; pair++)
        {
            using var one = NewDisposeScope();
            Scene scene = sampler.Draw(pair, SceneTask.Two, Split.Seen);
            string first = Name(scene.Things[0]), second = Name(scene.Things[1]);
            long[] ids = CaptionedScenes.Tokens(
                _encoders.Tokenizer, relations.Select(relation => $"{first} {relation} {second}"));
            using CaptionContext context = _network.Caption(
                _encoders.Text.Encode(tensor(ids, [relations.Length, _encoders.Tokenizer.ContextLength])));
            var noise = new float[_network.Config.InChannels * size * size];
            SeededNoise.Normal(settings.Seed, NoisePurpose.StartLatent, pair, noise);
            Tensor x = tensor(noise, [1, _network.Config.InChannels, size, size]).mul(sigma)
                .expand(relations.Length, -1, -1, -1);
            Tensor d = _model.Edm.Denoise(
                _network, x, [.. Enumerable.Repeat(sigma, relations.Length)], context);             // [4, C, H, W]
            sign += (Change(d, 0, 1) + Change(d, 2, 3)) / 2;
            axis += (Change(d, 0, 2) + Change(d, 0, 3) + Change(d, 1, 2) + Change(d, 1, 3)) / 4;
        }

        return new LayoutSensitivity(sigma, Math.Sqrt(sign / settings.Pairs), Math.Sqrt(axis / settings.Pairs));

        static string Name(Thing thing) =>
            $"a {Wording.Adjectives(thing.Color)[0]} {Wording.Nouns(thing.Kind)[0].One}";

        static double Change(Tensor d, int one, int other) => (d[one] - d[other]).square().mean().item<float>();
    }

    // The states of captions at the places, [captions, 3, D].
    private sealed record States(Tensor Text, Tensor Block, NounBatch Nouns, int Captions)
    {
        public Tensor At(string states, string place) =>
            (states == OfText ? Text : Block).select(1, Array.IndexOf(s_places, place));

        // At the last token, the facts are those of the first noun.
        public Tensor Facts(string place, NounFact fact)
        {
            int facts = Enum.GetValues<NounFact>().Length;
            return tensor([.. Enumerable.Range(0, Captions).Select(
                i => Nouns.Facts[(((2 * i) + (place == Second ? 1 : 0)) * facts) + (int)fact])]);
        }
    }
}
