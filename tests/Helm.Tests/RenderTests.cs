// Goal: the chart renders to what was reviewed, and Kubernetes accepts it. Method: goldens of every set of values
// (ATELIER_ACCEPT=1 rewrites them), strict parsing by KubernetesClient, and the schemas of npm's kubernetes-models.
using System.Text;
using k8s.Models;
using Xunit;
using YamlDotNet.Core;

namespace Atelier.Helm.Tests;

public sealed class RenderTests(Renderer renderer)
{
    public static TheoryData<string> Sets => [.. Repository.Sets];

    [Fact]
    public void SetsAndGoldens_AreTheSame() => Assert.Equal(
        Repository.Sets,
        Directory.GetFiles(Repository.InRoot("tests/helm/golden"), "*.yaml")
            .Select(file => Path.GetFileNameWithoutExtension(file)).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Sets))]
    public void ASet_RendersToItsGolden(string set)
    {
        string file = Repository.InRoot($"tests/helm/golden/{set}.yaml");
        if (Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1")
        {
            File.WriteAllText(file, renderer[set].Text);
        }

        Assert.True(File.Exists(file), $"{file} does not exist; ATELIER_ACCEPT=1 writes it");
        Assert.Equal(File.ReadAllText(file), renderer[set].Text);
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public async Task EveryObject_IsValid(string set)
    {
        Assert.True(renderer[set].Objects.Length > 8, $"only {renderer[set].Objects.Length} objects are found");
        Assert.Equal("", await FaultsAsync(renderer[set].Json));
    }

    [Fact]
    public async Task AnObjectThatIsNotValid_IsFound()
    {
        string json = renderer["production"].Json;
        string port = json.Replace("\"containerPort\":8080", "\"containerPort\":\"x\"", StringComparison.Ordinal);
        Assert.Contains("containerPort must be integer", await FaultsAsync(port), StringComparison.Ordinal);
        string trigger = json.Replace("\"triggers\"", "\"trigger\"", StringComparison.Ordinal);
        Assert.Contains("must have required property triggers", await FaultsAsync(trigger), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("containers:", "contaners:")]
    [InlineData("minReplicaCount:", "minReplicas:")]
    [InlineData("endpoints:", "endpoint:")]
    [InlineData("groups:", "group:")]
    public void AFieldThatKubernetesDoesNotKnow_IsFound(string name, string other)
    {
        string text = renderer["production"].Text;
        Assert.Contains(name, text, StringComparison.Ordinal);
        Assert.Throws<YamlException>(
            () => Rendering.Parse(text.Replace(name, other, StringComparison.Ordinal)).ToArray());
    }

    [Fact]
    public async Task TheReadme_IsThatOfTheValues()
    {
        (int code, _, string error) = await Tool.RunAsync(
            "python3", [Repository.InRoot("eng/chart-readme.py"), "--check"]);
        Assert.True(code == 0, error);
    }

    [Fact]
    public async Task TheNotes_SayHowToDraw()
    {
        (_, string notes, _) = await Renderer.RunAsync("-f", Repository.ValuesOf("production"), "--notes");
        Assert.Contains("get secret pictures-secrets", notes, StringComparison.Ordinal);
        Assert.Contains("/v1/admin/tenants/", notes, StringComparison.Ordinal);
        Assert.Contains("/v1/images/generations", notes, StringComparison.Ordinal);
        Assert.DoesNotContain("<no value>", notes, StringComparison.Ordinal);
    }

    [Fact]
    public void SecretsAreMade_AndFitTheSettings()
    {
        V1Secret secret = Assert.Single(renderer["smallest"].All<V1Secret>());
        Assert.Equal("keep", secret.Metadata.Annotations["helm.sh/resource-policy"]);
        string Text(string key) => Encoding.UTF8.GetString(secret.Data[key]);
        Assert.Equal(32, Convert.FromBase64String(Text("cluster-secret")).Length);
        Assert.Matches("^[A-Za-z0-9]{32,256}$", Text("admin-key"));
        Assert.Matches("^[A-Za-z0-9]{16,256}$", Text("redis-password"));
        Assert.Empty(renderer["everything-off"].All<V1Secret>());
    }

    [Fact]
    public async Task SecretsThatExist_AreKept()
    {
        string file = Path.GetTempFileName();
        await File.WriteAllTextAsync(
            file,
            """
            - apiVersion: v1
              kind: Secret
              metadata: {name: demo-atelier, namespace: art}
              data: {cluster-secret: Y2x1c3Rlcg==, cluster-secret-accepted: bmV4dA==, admin-key: YWRtaW4=}
            """,
            TestContext.Current.CancellationToken);
        (_, string text, _) = await Renderer.RunAsync("-f", Repository.ValuesOf("smallest"), "--lookup", file);
        File.Delete(file);
        V1Secret secret = Assert.Single(Rendering.Parse(text).OfType<V1Secret>());
        Assert.Equal("cluster"u8, secret.Data["cluster-secret"]);
        Assert.Equal("next"u8, secret.Data["cluster-secret-accepted"]);
        Assert.Equal("admin"u8, secret.Data["admin-key"]);
        Assert.Equal(32, secret.Data["redis-password"].Length);
    }

    private static async Task<string> FaultsAsync(string json)
    {
        // Node looks for packages beside the script.
        string script = Repository.InRoot("artifacts/helm/validate.mjs");
        File.Copy(Repository.InRoot("tests/helm/validate.mjs"), script, overwrite: true);
        (int code, string faults, string error) = await Tool.RunAsync("node", [script], input: json);
        Assert.True(code == 0 == (faults.Length == 0), error);
        Assert.Equal("", error);
        return faults;
    }
}
