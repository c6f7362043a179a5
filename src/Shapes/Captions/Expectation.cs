// The meaning of a caption in machine-readable form.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Captions;

/// <summary>A group of equal things in a caption.</summary>
/// <param name="Kind">Their kind.</param>
/// <param name="Count">Their number.</param>
/// <param name="Color">Their color; null if not mentioned.</param>
/// <param name="Size">Their size; null if not mentioned.</param>
public sealed record ExpectedThings(ThingKind Kind, int Count, ThingColor? Color, ThingSize? Size);

/// <summary>A relation that a caption states. Each of its two kinds occurs once in the picture.</summary>
/// <param name="Relation">The relation.</param>
/// <param name="Subject">Kind of the thing whose position is stated.</param>
/// <param name="Object">Kind of the thing to which the position is relative.</param>
public sealed record ExpectedRelation(Relation Relation, ThingKind Subject, ThingKind Object);

/// <summary>
/// The contents that a caption states. A matching picture may differ in everything that the caption does not state.
/// </summary>
/// <param name="Things">All things, by group.</param>
/// <param name="Relation">The relation; null if none is stated.</param>
/// <param name="Background">The background; null if not mentioned.</param>
/// <param name="Style">The style; null if not mentioned.</param>
public sealed record Expectation(
    IReadOnlyList<ExpectedThings> Things, ExpectedRelation? Relation, Background? Background, ArtStyle? Style);

/// <summary>A caption and its meaning.</summary>
/// <param name="Text">The text as a person would type it.</param>
/// <param name="Says">Its meaning.</param>
public sealed record Caption(string Text, Expectation Says)
{
    /// <summary>For each of <see cref="Expectation.Things"/>, where its noun ends in the text.</summary>
    public IReadOnlyList<int> NounEnds { get; init; } = [];
}
