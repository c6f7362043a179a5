// Goal: code and prose of a C# file are separated correctly. Method: one text with every kind of comment and string
// literal.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed class CSharpTextTests
{
    [Fact]
    public void CSharp_IsSplitIntoCodeAndProse()
    {
        (string code, string prose) = CSharpText.Split("""
            // one
            // two
            var a = $"three {b switch { 1 => "four", _ => @"fi""ve" }} {{six}}"; /* seven */ char c = '"'; // eight

            """ + "var d = \"\"\"\n  nine \"ten\"\n\"\"\" + $$\"\"\"{eleven} {{twelve}}\"\"\" + \"\"; thirteen");
        Assert.Equal(
            "one two three {}four fi\"ve six seven eight nine \"ten\" {eleven} {}",
            Regex.Replace(prose, @"\s+", " ").Trim());
        Assert.Equal(
            ["var", "a", "b", "switch", "_", "char", "c", "var", "d", "twelve", "thirteen"],
            CSharpText.Identifiers(code));
    }
}
