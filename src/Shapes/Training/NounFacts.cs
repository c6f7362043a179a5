// What a reader of a caption knows at each of its nouns: the facts that the states of a text encoder should hold there.
using Atelier.Model.Clip;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Training;

/// <summary>A fact about the things of a noun.</summary>
internal enum NounFact
{
    /// <summary>Where they are, relative to the thing they are related to.</summary>
    Direction,

    /// <summary>Whether the noun is the second of the two in the text.</summary>
    Order,

    /// <summary>Where the thing of the first noun is, relative to that of the second one.</summary>
    SentenceDirection,

    /// <summary>Kind of the thing they are related to.</summary>
    PartnerKind,

    /// <summary>Color of the thing they are related to.</summary>
    PartnerColor,

    /// <summary>Their color.</summary>
    Color,

    /// <summary>Their size.</summary>
    Size,

    /// <summary>Their kind.</summary>
    Kind,

    /// <summary>Their number, less one.</summary>
    Count,
}

/// <summary>A noun of a caption, and its facts.</summary>
/// <param name="Token">Position of the noun's last token among the token ids of the caption.</param>
/// <param name="Facts">
/// Value of each <see cref="NounFact"/>; <see cref="Unknown"/> if the caption does not say it.
/// </param>
internal sealed record NounFacts(int Token, long[] Facts)
{
    /// <summary>A fact that a caption does not say: the label that libtorch's cross entropy leaves out.</summary>
    public const long Unknown = -100;

    // The relations, and the converse of Inside.
    private const int Contains = (int)Relation.Inside + 1, Directions = Contains + 1;

    /// <summary>Number of values of a fact.</summary>
    public static int Values(NounFact fact) => fact switch
    {
        NounFact.Direction or NounFact.SentenceDirection => Directions,
        NounFact.Order => 2,
        NounFact.PartnerKind or NounFact.Kind => Enum.GetValues<ThingKind>().Length,
        NounFact.PartnerColor or NounFact.Color => Enum.GetValues<ThingColor>().Length,
        NounFact.Size => Enum.GetValues<ThingSize>().Length,
        _ => Scene.ThingsMax,
    };

    /// <summary>The nouns of a caption in the order of the text. Nouns beyond the context are left out.</summary>
    public static NounFacts[] Of(Caption caption, ClipTokenizer tokenizer)
    {
        (ExpectedThings Things, int End)[] nouns =
            [.. caption.Says.Things.Zip(caption.NounEnds).OrderBy(noun => noun.Second)];
        long? first = caption.Says.Relation is { } said ? DirectionOf(nouns[0].Things, said) : null;
        var found = new List<NounFacts>();
        for (int i = 0; i < nouns.Length; i++)
        {
            (ExpectedThings things, int end) = nouns[i];
            int token = tokenizer.Count(caption.Text[..end]).Given; // The start mark is at position 0.
            if (token > tokenizer.ContextLength - 2)
            {
                break;
            }

            var facts = new long[Enum.GetValues<NounFact>().Length];
            Array.Fill(facts, Unknown);
            if (caption.Says.Relation is { } relation)
            {
                ExpectedThings partner = nouns[1 - i].Things;
                facts[(int)NounFact.Direction] = DirectionOf(things, relation);
                facts[(int)NounFact.Order] = i;
                facts[(int)NounFact.SentenceDirection] = first!.Value;
                facts[(int)NounFact.PartnerKind] = (long)partner.Kind;
                facts[(int)NounFact.PartnerColor] = (long?)partner.Color ?? Unknown;
            }

            facts[(int)NounFact.Color] = (long?)things.Color ?? Unknown;
            facts[(int)NounFact.Size] = (long?)things.Size ?? Unknown;
            facts[(int)NounFact.Kind] = (long)things.Kind;
            facts[(int)NounFact.Count] = things.Count - 1;
            found.Add(new NounFacts(token, facts));
        }

        return [.. found];
    }

    private static long DirectionOf(ExpectedThings things, ExpectedRelation said) =>
        things.Kind == said.Subject ? (long)said.Relation : said.Relation switch
        {
            Relation.LeftOf => (long)Relation.RightOf,
            Relation.RightOf => (long)Relation.LeftOf,
            Relation.Above => (long)Relation.Below,
            Relation.Below => (long)Relation.Above,
            _ => Contains,
        };
}
