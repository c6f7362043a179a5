// Prometheus' own checker of queries and rules.
using Xunit;

namespace Atelier.Helm.Tests;

internal static class Promtool
{
    public static void SkipIfMissing() => Assert.SkipUnless(
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Any(folder => File.Exists(Path.Combine(folder, "promtool"))),
        "promtool is not installed; ./atelier test --install installs it.");

    public static Task<(int Code, string Out, string Error)> RunAsync(params IEnumerable<string> arguments) =>
        Tool.RunAsync("promtool", arguments);
}
