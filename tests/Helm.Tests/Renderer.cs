// The chart's renderings: tests/helm/render.go is built once, and renders every set of values once.
using Atelier.Helm.Tests;
using Xunit;

[assembly: AssemblyFixture(typeof(Renderer))]

namespace Atelier.Helm.Tests;

/// <summary>Renders the chart.</summary>
public sealed class Renderer : IAsyncLifetime
{
    private static readonly string s_program = Repository.InRoot("artifacts/helm/render");

    private readonly Dictionary<string, Rendering> _sets = new(StringComparer.Ordinal);

    public async ValueTask InitializeAsync()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(s_program)!);
        (int code, _, string error) = await Tool.RunAsync(
            "go", ["build", "-o", s_program, "render.go"], Repository.InRoot("tests/helm"),
            variables: new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["GO111MODULE"] = "off", ["GOPATH"] = "/usr/share/gocode",
            });
        Assert.True(code == 0, error);
        foreach (string set in Repository.Sets)
        {
            _sets[set] = await RenderAsync("-f", Repository.ValuesOf(set));
        }
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>The rendering of a set.</summary>
    internal Rendering this[string set] => _sets[set];

    /// <summary>Renders the chart again, for a test that changes the objects.</summary>
    internal static async Task<Rendering> RenderAsync(params string[] arguments)
    {
        (int code, string text, string error) = await RunAsync(arguments);
        Assert.True(code == 0, $"{string.Join(' ', arguments)}: {error}");
        (_, string json, _) = await RunAsync([.. arguments, "--json"]);
        return new Rendering(text, json);
    }

    /// <summary>Renders the chart with these arguments. A template that reads a missing value is an error.</summary>
    internal static Task<(int Code, string Out, string Error)> RunAsync(params IEnumerable<string> arguments) =>
        Tool.RunAsync(s_program, [.. arguments, "--strict", Repository.Chart]);
}
