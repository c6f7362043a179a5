// Goal: references between rooms, the folders directly under a project or under another room, form no cycles. Method:
// which type uses which, from the built assemblies, and which file uses constants of which type, from the sources,
// because the compiler leaves no trace of those. A file beside the rooms is a room by itself.
using System.Text.RegularExpressions;
using Xunit;

namespace Atelier.Architecture.Tests;

public sealed partial class RoomsTests
{
    /// <summary>Every folder of sources that has folders of sources: "Silo", "Silo/Api" and so on.</summary>
    public static TheoryData<string> Houses =>
    [
        .. Repository.Files(".cs").Where(file => file.StartsWith("src/", StringComparison.Ordinal))
            .Select(file => file["src/".Length..].Split('/')[..^1])
            .SelectMany(path => Enumerable.Range(1, path.Length - 1).Select(depth => string.Join('/', path[..depth])))
            .Distinct().Order(StringComparer.Ordinal),
    ];

    [Theory]
    [MemberData(nameof(Houses))]
    public void Rooms_FormNoCircle(string house)
    {
        Dictionary<string, SortedSet<string>> arrows = Arrows(
            house, out Dictionary<(string, string), string> examples);
        foreach (string[] circle in Circles(arrows).Where(circle => circle.Any(IsFolder)))
        {
            Assert.Fail(
                $"rooms of {house} refer to each other in a cycle: {string.Join(", ", circle)}\n" + string.Join('\n',
                    from a in circle from b in arrows[a].Intersect(circle) select $"  {a} -> {b}: {examples[(a, b)]}"));
        }

        bool IsFolder(string room) => Directory.Exists(Path.Combine(Repository.Root, "src", house, room));
    }

    [Fact]
    public void ArrowsAreFound_InDeclarations_InCode_AndByConstants()
    {
        // A check of this test itself: arrows that certainly exist.
        Dictionary<string, SortedSet<string>> model = Arrows("Model", out _);
        Assert.Superset(new HashSet<string> { "Networks" }, model["Diffusion"]);
        Assert.Superset(new HashSet<string> { "Networks", "Diffusion" }, model["Pipeline"]);
        Assert.DoesNotContain("Pipeline", model["Networks"]);
        Assert.Superset(new HashSet<string> { "Http", "Models" }, Arrows("Silo/Api", out _)["Generations"]);
        Assert.Superset(
            new HashSet<(string, string)> { ("Silo", ""), ("Silo", "Api"), ("Model", "Data") },
            Houses.Select(row => (row.Data.Split('/')[0], string.Join('/', row.Data.Split('/').Skip(1)))).ToHashSet());
        Assert.Contains(Circles(new()
        {
            ["a"] = ["b"], ["b"] = ["c"], ["c"] = ["a", "d"], ["d"] = [],
        }), circle => circle.Order().SequenceEqual(["a", "b", "c"]));
    }

    private static Dictionary<string, SortedSet<string>> Arrows(
        string house, out Dictionary<(string From, string To), string> examples)
    {
        (string project, string prefix) = (house.Split('/')[0], $"src/{house}/");
        (string Room, string Namespace, string Code)[] files =
        [
            .. Repository.Files(".cs").Where(file => file.StartsWith(prefix, StringComparison.Ordinal)).Select(file =>
            {
                string code = CSharpText.Split(Repository.Read(file)).Code;
                return (file[prefix.Length..].Split('/')[0], Namespace().Match(code).Groups["name"].Value, code);
            }),
        ];
        ILookup<(string, string), string> rooms = files
            .SelectMany(file => Declaration().Matches(file.Code)
                .Select(match => ((file.Namespace, match.Groups["name"].Value), file.Room)))
            .ToLookup(pair => pair.Item1, pair => pair.Room);
        var arrows = files.Select(file => file.Room).Distinct().ToDictionary(
            room => room, _ => new SortedSet<string>());
        var found = new Dictionary<(string, string), string>();

        foreach (AssemblyType type in AssemblyReader.Types(Repository.Assembly(project)))
        {
            foreach (AssemblyType used in type.Uses)
            {
                Add(
                    rooms[(type.Namespace, type.Name)].FirstOrDefault(),
                    rooms[(used.Namespace, used.Name)].FirstOrDefault(),
                    $"{type.Name} uses {used.Name}");
            }
        }

        foreach ((string room, string name, string code) in files)
        {
            HashSet<string> visible = [.. Using().Matches(code).Select(match => match.Groups["name"].Value)];
            for (string outer = name; outer.Length > 0; outer = outer[..Math.Max(0, outer.LastIndexOf('.'))])
            {
                visible.Add(outer);
            }

            HashSet<(string? Qualifier, string Name)> names =
                [.. Member().Matches(code).Select(match => (match.Groups["of"].Value, match.Groups["name"].Value))];
            foreach (IGrouping<(string Namespace, string Name), string> type in rooms)
            {
                string last = type.Key.Namespace.Split('.')[^1];
                if ((visible.Contains(type.Key.Namespace) && names.Contains(("", type.Key.Name)))
                    || names.Contains((last, type.Key.Name)))
                {
                    Add(room, type.First(), $"{name} names {type.Key.Name}");
                }
            }
        }

        examples = found;
        return arrows;

        void Add(string? from, string? to, string why)
        {
            if (from is not null && to is not null && from != to)
            {
                arrows[from].Add(to);
                found.TryAdd((from, to), why);
            }
        }
    }

    // Tarjan's strongly connected components of more than one room.
    private static List<string[]> Circles(Dictionary<string, SortedSet<string>> arrows)
    {
        var number = new Dictionary<string, int>();
        var lowest = new Dictionary<string, int>();
        var path = new List<string>();
        var circles = new List<string[]>();
        foreach (string room in arrows.Keys.Where(room => !number.ContainsKey(room)).ToArray())
        {
            Visit(room);
        }

        return circles;

        void Visit(string room)
        {
            number[room] = lowest[room] = number.Count;
            path.Add(room);
            foreach (string next in arrows[room])
            {
                if (!number.TryGetValue(next, out int found))
                {
                    Visit(next);
                    lowest[room] = Math.Min(lowest[room], lowest[next]);
                }
                else if (path.Contains(next))
                {
                    lowest[room] = Math.Min(lowest[room], found);
                }
            }

            if (lowest[room] == number[room])
            {
                int from = path.IndexOf(room);
                if (path.Count - from > 1)
                {
                    circles.Add([.. path[from..].Order()]);
                }

                path.RemoveRange(from, path.Count - from);
            }
        }
    }

    [GeneratedRegex(@"^namespace (?<name>[\w.]+)", RegexOptions.Multiline)]
    private static partial Regex Namespace();

    [GeneratedRegex(@"^using (?:static )?(?<name>[\w.]+);", RegexOptions.Multiline)]
    private static partial Regex Using();

    [GeneratedRegex(@"\b(?:class|struct|interface|enum|record|delegate [\w<>?, ]+?) (?<name>[A-Z]\w*)")]
    private static partial Regex Declaration();

    // A name before a dot and a member, as constants are written, with the text before it.
    [GeneratedRegex(@"(?<![\w.])(?:(?<of>[A-Z]\w*)\.)?(?<name>[A-Z]\w*)(?=\s*\.\s*[A-Z])")]
    private static partial Regex Member();
}
