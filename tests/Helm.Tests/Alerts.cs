// The chart's alert rules and dashboards, as data.
using System.Text.Json;
using System.Text.Json.Nodes;
using YamlDotNet.Serialization;

namespace Atelier.Helm.Tests;

/// <summary>An alert rule.</summary>
internal sealed record Alert(
    string Name, string Expression, string Severity, IReadOnlyDictionary<string, string> Notes);

/// <summary>A panel of a dashboard.</summary>
internal sealed record Panel(string Board, JsonNode Json)
{
    public string Title => Json["title"]!.GetValue<string>();

    public string[] Queries =>
        [.. Json["targets"]!.AsArray().Select(target => target!["expr"]!.GetValue<string>())];

    public override string ToString() => $"{Board}, {Title}";
}

internal static class Monitoring
{
    public static string RulesFile { get; } = Path.Combine(Repository.Chart, "rules", "alerts.yaml");

    public static string TestsFile { get; } = Repository.InRoot("tests/helm/alerts.test.yaml");

    public static string[] Boards { get; } =
    [
        .. Directory.GetFiles(Path.Combine(Repository.Chart, "dashboards"), "*.json")
            .Order(StringComparer.Ordinal),
    ];

    public static Alert[] Alerts { get; } =
    [
        .. Read(RulesFile)["groups"]!.AsArray().SelectMany(group => group!["rules"]!.AsArray()).Select(
            rule => new Alert(
                (string)rule!["alert"]!, (string)rule["expr"]!, (string)rule["labels"]!["severity"]!,
                rule["annotations"]!.AsObject().ToDictionary(
                    note => note.Key, note => (string)note.Value!, StringComparer.Ordinal))),
    ];

    public static Panel[] Panels { get; } =
    [
        .. Boards.SelectMany(file => Parse(file)["panels"]!.AsArray().Select(
            panel => new Panel(Path.GetFileNameWithoutExtension(file), panel!))),
    ];

    public static JsonNode Parse(string file) => JsonNode.Parse(File.ReadAllText(file))!;

    /// <summary>A YAML file as JSON, whose scalars are strings.</summary>
    public static JsonNode Read(string file)
    {
        using StreamReader text = File.OpenText(file);
        return JsonSerializer.SerializeToNode(Plain(new DeserializerBuilder().Build().Deserialize<object>(text)))!;
    }

    private static object? Plain(object? value) => value switch
    {
        IDictionary<object, object?> map => map.ToDictionary(
            one => one.Key.ToString()!, one => Plain(one.Value), StringComparer.Ordinal),
        IEnumerable<object?> list => list.Select(Plain).ToArray(),
        _ => value,
    };
}
