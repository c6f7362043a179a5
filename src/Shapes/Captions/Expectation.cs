// What a caption says, for machines.
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Captions;

/// <summary>Things that a caption speaks of together.</summary>
/// <param name="Kind">What they are.</param>
/// <param name="Count">How many.</param>
/// <param name="Color">Their colour, if it is said.</param>
/// <param name="Size">Their size, if it is said.</param>
public sealed record ExpectedThings(ThingKind Kind, int Count, ThingColor? Color, ThingSize? Size);

/// <summary>A relation that a caption states. Its kinds occur once each.</summary>
/// <param name="Relation">The relation.</param>
/// <param name="Subject">Kind of the thing that it speaks of.</param>
/// <param name="Object">Kind of the thing that it refers to.</param>
public sealed record ExpectedRelation(Relation Relation, ThingKind Subject, ThingKind Object);

/// <summary>What a caption says, and no more; a picture that shows it may be free in all else.</summary>
/// <param name="Things">All things, by group.</param>
/// <param name="Relation">A relation, if one is stated.</param>
/// <param name="Background">The background, if it is said.</param>
/// <param name="Style">The style, if it is said.</param>
public sealed record Expectation(
    IReadOnlyList<ExpectedThings> Things, ExpectedRelation? Relation, Background? Background, ArtStyle? Style);

/// <summary>A caption and its meaning.</summary>
/// <param name="Text">What a person would type.</param>
/// <param name="Says">What it says.</param>
public sealed record Caption(string Text, Expectation Says);
