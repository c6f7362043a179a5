// Goal: identifiers use the same spelling as .NET. Method: looks for a list of British spellings in the identifiers of
// all code.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed class SpellingTests
{
    // British spellings, each with the American one. Two are left out because they are names on the wire: Licence (a
    // member of a stored message, of the API and of model.json) and Cancelled (a state of the API).
    private static readonly (string British, string American)[] s_spellings =
    [
        ("Artefact", "Artifact"), ("Authoris", "Authoriz"), ("Behaviour", "Behavior"), ("Catalogue", "Catalog"),
        ("Centre", "Center"), ("Colour", "Color"), ("Customis", "Customiz"), ("Defence", "Defense"),
        ("Favour", "Favor"), ("Finalis", "Finaliz"), ("Generalis", "Generaliz"), ("Grey", "Gray"),
        ("Honour", "Honor"), ("Initialis", "Initializ"), ("Labelled", "Labeled"), ("Materialis", "Materializ"),
        ("Maximis", "Maximiz"), ("Minimis", "Minimiz"), ("Modelled", "Modeled"), ("Neighbour", "Neighbor"),
        ("Normalis", "Normaliz"), ("Optimis", "Optimiz"), ("Organis", "Organiz"), ("Penalis", "Penaliz"),
        ("Prioritis", "Prioritiz"), ("Quantis", "Quantiz"), ("Randomis", "Randomiz"), ("Recognis", "Recogniz"),
        ("Serialis", "Serializ"), ("Standardis", "Standardiz"), ("Summaris", "Summariz"), ("Synchronis", "Synchroniz"),
        ("Tokenis", "Tokeniz"), ("Travelled", "Traveled"), ("Utilis", "Utiliz"), ("Visualis", "Visualiz"),
    ];

    [Fact]
    public void Identifiers_UseAmericanSpelling()
    {
        // A word starts with its capital, or the identifier starts with it in lower case.
        var british = new Regex(string.Join('|', s_spellings.Select(spelling =>
            $"{spelling.British}|(?<![A-Za-z]){char.ToLowerInvariant(spelling.British[0])}{spelling.British[1..]}")));
        string[] found =
        [
            .. from file in Repository.Files(".cs")
               from name in CSharpText.Identifiers(CSharpText.Split(Repository.Read(file)).Code).Distinct()
               let match = british.Match(name)
               where match.Success
               select $"  {file}: {name}; say {American(match.Value)}",
        ];
        Assert.True(found.Length == 0, $"{found.Length} identifiers:\n" + string.Join('\n', found.Take(100)));

        static string American(string word) => s_spellings
            .First(spelling => spelling.British.Equals(word, StringComparison.OrdinalIgnoreCase)).American;
    }
}
