// A CLIP model in training, with heads that read the facts of a caption from the states at its nouns. The heads are
// linear, so a fact that they read is one that the denoiser's projections can read, too. They are not part of the
// result.
using Atelier.Model.Clip;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Shapes.Training;

/// <summary>
/// Trains the states of a text tower to hold facts. Owns the CLIP model. Symbols: N nouns, D features, F facts.
/// </summary>
internal sealed class BoundClip : Module
{
    /// <summary>Prefix of the names of the CLIP model's parameters.</summary>
    public const string Prefix = "clip.";

    private static readonly NounFact[] s_facts = Enum.GetValues<NounFact>();

    [ComponentName(Name = "clip")] private readonly ClipModel _clip;
    [ComponentName(Name = "heads")] private readonly Parameter _heads;

    /// <summary>Adds heads to a model.</summary>
    /// <param name="clip">The model.</param>
    /// <param name="width">Features of a state, D.</param>
    public BoundClip(ClipModel clip, int width) : base(nameof(BoundClip))
    {
        _clip = clip;
        _heads = new Parameter(zeros(width + 1, s_facts.Sum(NounFacts.Values)));
        RegisterComponents();
    }

    /// <summary>How poorly the heads read the facts.</summary>
    /// <param name="states">States at nouns, [N, D].</param>
    /// <param name="facts">Value of each fact, [N, F] int64.</param>
    public Tensor Loss(Tensor states, Tensor facts)
    {
        int width = (int)states.shape[1];
        Tensor weights = _heads.narrow(0, 0, width), biases = _heads.select(0, width);
        Tensor read = states.matmul(weights).add(biases).to(ScalarType.Float32);   // [N, sum of values]
        Tensor loss = zeros([]);
        int first = 0;
        foreach (NounFact fact in s_facts)
        {
            int values = NounFacts.Values(fact);
            Tensor right = facts.select(1, (int)fact);
            Tensor known = right.ne(NounFacts.Unknown).sum().clamp_min(1);
            loss += Weight(fact) / known * functional.cross_entropy(
                read.slice(1, first, first + values, 1), right, ignore_index: NounFacts.Unknown,
                reduction: Reduction.Sum);
            first += values;
        }

        return loss;
    }

    // Without the two facts about the order of the nouns, the directions were not learned.
    private static double Weight(NounFact fact) => fact switch
    {
        NounFact.Direction => 1,
        NounFact.Order or NounFact.SentenceDirection => 0.5,
        _ => 0.2,
    };
}
