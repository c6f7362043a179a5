// Goal: the links and member names in the documents are valid. Method: resolves every relative link of every Markdown
// file, anchors included, and looks for every member that docs/architecture.md names in the built assemblies and in the
// file that its link leads to.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class DocumentsTests
{
    [Fact]
    public void Links_LeadToFilesAndHeadingsThatExist()
    {
        var broken = new List<string>();
        foreach (string file in Repository.Files(".md"))
        {
            string text = CodeBlock().Replace(Repository.Read(file), "");
            foreach (string target in Link().Matches(text).Select(match => match.Groups["target"].Value)
                .Where(target => !target.Contains("://", StringComparison.Ordinal)))
            {
                string[] parts = target.Split('#', 2);
                string path = parts[0].Length == 0
                    ? Path.Combine(Repository.Root, file)
                    : Path.GetFullPath(Path.Combine(Repository.Root, Path.GetDirectoryName(file)!, parts[0]));
                if (!path.StartsWith(Repository.Root, StringComparison.Ordinal) || !Path.Exists(path))
                {
                    broken.Add($"  {file}: {target}: no such file in the repository");
                }
                else if (parts.Length == 2 && !Anchors(path).Contains(parts[1]))
                {
                    broken.Add($"  {file}: {target}: no such heading");
                }
            }
        }

        Assert.True(broken.Count == 0, $"{broken.Count} links:\n" + string.Join('\n', broken));
    }

    [Fact]
    public void Anchors_AreThoseOfGitHub()
    {
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, "# What `A.B` does, and why\n## Two\n```\n# none\n```\n## Two\n");
            Assert.Equal(["what-ab-does-and-why", "two", "two-1"], Anchors(file));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void MembersThatTheArchitectureNames_Exist()
    {
        var members = Repository.Projects.Select(project => AssemblyReader.Members(Repository.Assembly(project)))
            .SelectMany(types => types).ToLookup(type => type.Key, type => type.ToHashSet());
        string[] named =
        [
            .. MemberName().Matches(Repository.Read("docs/architecture.md"))
                .Select(match => match.Groups["member"].Value).Distinct(),
        ];
        Assert.True(named.Length > 30, $"only {named.Length} members are named");
        string[] missing =
        [
            .. named.Where(name => !members[name.Split('.')[0]].Any(type => type.Contains(name.Split('.')[1]))),
        ];
        Assert.True(
            missing.Length == 0, "docs/architecture.md names members that do not exist: " + string.Join(", ", missing));
    }

    // A member may move to another file of the repository, and its link then leads to the wrong one.
    [Fact]
    public void MembersThatTheArchitectureLinks_AreInTheFilesOfTheirLinks()
    {
        Match[] links = MemberLink().Matches(Repository.Read("docs/architecture.md")).ToArray();
        Assert.True(links.Length > 30, $"only {links.Length} members are linked");
        string[] wrong =
        [
            .. from link in links
               let target = link.Groups["target"].Value
               let code = CSharpText.Split(Repository.Read(Path.Combine("docs", target))).Code
               where !Declares(code, link.Groups["type"].Value, link.Groups["member"].Value)
               select $"  {link.Groups["type"].Value}.{link.Groups["member"].Value} is not in {target}",
        ];
        Assert.True(wrong.Length == 0, string.Join('\n', wrong));
    }

    // A declaration has a type before the member's name; a use has a dot, a bracket or a keyword.
    private static bool Declares(string code, string type, string member) =>
        Regex.IsMatch(code, $@"\b(?:class|struct|interface|record|enum) {type}\b")
        && Regex.IsMatch(code, $@"(?<!\b(?:return|await|new|throw|is|not|or|and|case))(?<=[\w>?\])]) {member}\b");

    // As on GitHub: lower case, hyphens for spaces, other punctuation dropped; the second heading of a name ends in -1.
    private static List<string> Anchors(string path)
    {
        var anchors = new List<string>();
        if (!File.Exists(path))
        {
            return anchors;
        }

        var seen = new Dictionary<string, int>();
        foreach (string heading in Heading().Matches(CodeBlock().Replace(File.ReadAllText(path), ""))
            .Select(match => match.Groups["text"].Value))
        {
            string slug = NotOfAnchor().Replace(Link().Replace(heading, "${text}").Trim().ToLowerInvariant(), "")
                .Replace(' ', '-');
            int before = seen.GetValueOrDefault(slug);
            seen[slug] = before + 1;
            anchors.Add(before == 0 ? slug : $"{slug}-{before}");
        }

        return anchors;
    }

    [GeneratedRegex(@"^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"\[(?<text>[^\]]*)\]\((?<target>[^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"^#{1,6} (?<text>.+)$", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex(@"[^\p{L}\p{N} _-]")]
    private static partial Regex NotOfAnchor();

    [GeneratedRegex(@"`(?<member>[A-Z]\w*\.[A-Z]\w*)`")]
    private static partial Regex MemberName();

    [GeneratedRegex(@"\[`(?<type>[A-Z]\w*)\.(?<member>[A-Z]\w*)`\]\((?<target>[^)\s]+\.cs)\)")]
    private static partial Regex MemberLink();
}
