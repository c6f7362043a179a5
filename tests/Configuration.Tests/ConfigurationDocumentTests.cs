// Goal: docs/configuration.md lists every key of both hosts as the program has it. Method: the document is made from
// the options classes and their XML docs, and compared; with ATELIER_ACCEPT=1 it is rewritten.
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Atelier.Gateway.Hosting;
using Atelier.Silo.Hosting;
using Xunit;

namespace Atelier.Configuration.Tests;

public sealed partial class ConfigurationDocumentTests
{
    private const int ColumnsMax = 120;

    private const string NoDefault = "Required.";

    private const string Introduction =
        """
        # Configuration

        Made from the options classes by a test of tests/Configuration.Tests, which compares it (`ATELIER_ACCEPT=1`
        rewrites it).

        Keys are set the host's usual ways: `Queue:LeaseTime` by the environment variable `Queue__LeaseTime`, by
        `--Queue:LeaseTime 00:00:08` on the command line, or in `appsettings.json` beside the program. What comes later
        in this order wins: file, environment, command line. Lists have the keys `Models:Folders:0`, `Models:Folders:1`
        and so on. A time is `days.hours:minutes:seconds`, all but hours and minutes optional; a bare number is days.

        A process reads its keys once, at start. If any is wrong, it reports all of them and ends with exit code 2.
        Values that are allowed and unwise are logged as warnings, as are keys in these sections that set nothing, with
        the key that was probably meant.

        Keys marked **C** must be the same on all silos of a cluster; `Cluster:Secret`, `Cluster:Id`, `Cluster:Tls` and
        `Store:Redis` on all gateways as well. Decisions move between silos, and two that count differently would, for
        example, expire each other's leases. Change such a key on a stopped cluster, or restart all silos soon after
        one another. The secret is changed without downtime by
        [rotation](operations.md#rotation-of-the-clusters-secret).

        Besides these keys, `OTEL_EXPORTER_OTLP_ENDPOINT` is where telemetry is sent, `Logging` is .NET's own section,
        and `Supervisor:Stdin` is what `./atelier up` sets so that a process ends with it.

        """;

    // A host's tests check that it reads each of these classes.
    private static readonly (string Process, Assembly[] Assemblies)[] s_hosts =
    [
        ("silo", [typeof(SiloHost).Assembly, .. Referenced(typeof(SiloHost).Assembly)]),
        ("gateway", [typeof(GatewayHost).Assembly, .. Referenced(typeof(GatewayHost).Assembly)]),
    ];

    private static readonly Dictionary<string, XDocument> s_docs = new(StringComparer.Ordinal);

    private static readonly Dictionary<string, Row> s_rows = Rows();

    [Fact]
    public void TheDocument_IsMadeFromTheOptions()
    {
        string path = Path.Combine(Path.GetDirectoryName(Here())!, "..", "..", "docs", "configuration.md");
        if (Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1")
        {
            File.WriteAllText(path, Document());
        }

        Assert.Equal(File.ReadAllText(path), Document());
    }

    // In each class that has the key, not only in the one whose docs the document shows.
    [Fact]
    public void EveryKey_IsExplained() => Assert.All(Options().SelectMany(options => OptionKey.Of(options)), key =>
    {
        Type options = key.Property.DeclaringType!;
        XElement? docs = Docs(options, key);
        Assert.True(
            Prose(docs?.Element("summary")).Length > 10, $"{options.Name}.{key.Property.Name} has no summary.");
        Assert.Matches(@"^(The defaults? \S.*|Required)\.$", Prose(docs?.Element("value")));
    });

    [Fact]
    public void EveryDefault_ContinuesItsSentence() => Assert.All(s_rows.Values, row => Assert.Matches(
        @"^(default (`.+`(: [^A-Z].*)?|none(: [^A-Z].*)?|[a-z0-9].*)|no default)$", row.Default));

    private static IEnumerable<Type> Options() => s_hosts.SelectMany(host => host.Assemblies).Distinct()
        .SelectMany(assembly => assembly.GetExportedTypes()).Where(type => type.IsDefined(typeof(SectionAttribute)));

    private static string Document()
    {
        var text = new StringBuilder(Introduction);
        foreach (IGrouping<string, Row> section in s_rows.Values.GroupBy(row => row.Key.Path.Split(':')[0]).OrderBy(
            section => section.Key, StringComparer.Ordinal))
        {
            string[] summaries =
            [
                .. section.Where(row => row.Options.GetCustomAttribute<SectionAttribute>()!.Name == section.Key)
                    .Select(row => Capital(Prose(Xml(row.Options, "T", row.Options.FullName!)?.Element("summary"))))
                    .Distinct(),
            ];
            string summary = string.Join(' ', summaries);
            text.Append("\n## ").Append(section.Key).Append("\n\n");
            text.Append(Wrapped(summary, "")).Append(summary.Length > 0 ? "\n" : "");
            foreach (Row row in section.OrderBy(row => row.Key.Path, StringComparer.Ordinal))
            {
                text.Append(Wrapped(
                    $"- **`{row.Key.Path}`**{(row.Key.IsClusterWide ? " **C**" : "")} "
                    + $"({string.Join(", ", row.Processes)}): {row.Key.Rule}; {row.Default}. {row.Meaning} "
                    + row.Hazard,
                    "  "));
            }
        }

        return text.ToString();
    }

    // A paragraph in lines within the columns; those after the first are indented.
    private static string Wrapped(string text, string indent)
    {
        var (lines, column) = (new StringBuilder(), 0);
        foreach (string word in text.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (column > 0 && column + 1 + word.Length > ColumnsMax)
            {
                lines.Append('\n').Append(indent);
                column = indent.Length;
            }
            else if (column > 0)
            {
                lines.Append(' ');
                column++;
            }

            lines.Append(word);
            column += word.Length;
        }

        return lines.Length == 0 ? "" : lines.Append('\n').ToString();
    }

    private static Dictionary<string, Row> Rows()
    {
        var rows = new Dictionary<string, Row>(StringComparer.Ordinal);
        foreach ((string process, Assembly[] assemblies) in s_hosts)
        {
            foreach (Type options in assemblies.SelectMany(assembly => assembly.GetExportedTypes())
                .Where(type => type.IsDefined(typeof(SectionAttribute))))
            {
                object standard = Activator.CreateInstance(options)!;
                foreach (OptionKey key in OptionKey.Of(options))
                {
                    if (rows.TryGetValue(key.Path, out Row? known))
                    {
                        known.Processes.Add(process);
                        continue;
                    }

                    XElement? docs = Docs(options, key);
                    rows.Add(key.Path, new Row(
                        options, key, [process],
                        Default(key, key.Property.GetValue(standard), Prose(docs?.Element("value"))),
                        Meaning(Prose(docs?.Element("summary"))), Prose(docs?.Element("remarks"))));
                }
            }
        }

        return rows;
    }

    private static XElement? Docs(Type options, OptionKey key) =>
        Xml(options, "P", $"{options.FullName}.{key.Property.Name}");

    // A value as it is written, and what its docs add; only the docs where it depends on the machine or is none.
    private static string Default(OptionKey key, object? value, string docs)
    {
        if (docs == NoDefault)
        {
            return "no default";
        }

        string text = value is null ? "" : key.Format(value);
        Match standard = StandardValue().Match(docs);
        string more = standard.Groups["more"].Value;
        return "default " + (text.Length == 0 || text == Environment.MachineName
            ? (standard.Success ? standard.Groups["all"].Value : docs).TrimEnd('.')
            : $"`{text}`" + (more.Length > 0 ? $": {more.TrimEnd('.')}" : ""));
    }

    private static string Meaning(string summary) => Capital(Getter().Replace(summary, ""));

    private static string Capital(string text) => text.Length == 0 ? "" : char.ToUpperInvariant(text[0]) + text[1..];

    private static string Prose(XElement? element) => element is null ? "" : Spaces().Replace(
        string.Concat(element.Nodes().Select(node => node switch
        {
            XText plain => plain.Value,
            XElement { Name.LocalName: "see" } see => $"`{Referred(see.Attribute("cref")!.Value)}`",
            XElement other => Prose(other),
            _ => "",
        })), " ").Trim();

    // A property of an options class by its key, anything else by its last name.
    private static string Referred(string cref)
    {
        string[] names = cref[2..].Split('.');
        Type? owner = s_hosts.SelectMany(host => host.Assemblies)
            .Select(assembly => assembly.GetType(string.Join('.', names[..^1])))
            .FirstOrDefault(type => type is not null);
        return owner?.IsDefined(typeof(SectionAttribute)) == true
            ? OptionKey.Of(owner).FirstOrDefault(key => key.Property.Name == names[^1])?.Path ?? names[^1] : names[^1];
    }

    private static XElement? Xml(Type type, string kind, string name)
    {
        string file = Path.ChangeExtension(type.Assembly.Location, ".xml");
        if (!s_docs.TryGetValue(file, out XDocument? docs))
        {
            s_docs.Add(file, docs = XDocument.Load(file));
        }

        return docs.Descendants("member")
            .FirstOrDefault(member => member.Attribute("name")!.Value == $"{kind}:{name}");
    }

    private static IEnumerable<Assembly> Referenced(Assembly host) =>
        host.GetReferencedAssemblies().Where(name => name.Name!.StartsWith("Atelier.", StringComparison.Ordinal))
            .OrderBy(name => name.Name, StringComparer.Ordinal).Select(Assembly.Load);

    private static string Here([CallerFilePath] string path = "") => path;

    [GeneratedRegex(@"^The defaults? (?:is|are) (?<all>[^:;]*(?:[:;] (?<more>.*))?)$", RegexOptions.None, 1000)]
    private static partial Regex StandardValue();

    [GeneratedRegex("^Gets (?:or sets )?", RegexOptions.None, 1000)]
    private static partial Regex Getter();

    [GeneratedRegex(@"\s+", RegexOptions.None, 1000)]
    private static partial Regex Spaces();

    private sealed record Row(
        Type Options, OptionKey Key, SortedSet<string> Processes, string Default, string Meaning, string Hazard);
}
