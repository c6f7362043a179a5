// Goal: values that can't work are refused before anything is installed, with a message that names the value and what
// would be right. Method: one change of a good set of values at a time.
using System.Text;
using Xunit;

namespace Atelier.Helm.Tests;

public sealed class FaultsTests
{
    private const string GoodSecret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    private static readonly string s_goodKey = new('a', 32);

    [Theory]
    // Types, unknown keys and choices, by values.schema.json.
    [InlineData("gateway.replicas=two", "gateway.replicas: Invalid type. Expected: integer, given: string")]
    [InlineData("gateway.preStop=5", "gateway.preStop: Invalid type. Expected: string, given: integer")]
    [InlineData("gatway.replicas=2", "Additional property gatway is not allowed")]
    [InlineData("gateway.replica=2", "gateway: Additional property replica is not allowed")]
    [InlineData("pools[0].replicas=3", "pools.0: Additional property replicas is not allowed")]
    [InlineData("models.shapes.path=x", "models.shapes: Additional property path is not allowed")]
    [InlineData("pools[0].roles[0]=draw", "pools.0.roles.0 must be one of the following: \"inference\", \"training\"")]
    [InlineData("models.shapes.source=web", "models.shapes.source must be one of the following: \"volume\", \"image\"")]
    [InlineData("spot.provider=gce", "spot.provider must be one of the following: \"\", \"azure\", \"aws\", \"gcp\"")]
    [InlineData("silo.image.digest=sha256:0", "silo.image.digest: Does not match pattern")]
    [InlineData("pools[0].device.rows=2000", "pools.0.device.rows: Must be less than or equal to 1024")]
    [InlineData("gateway.replicas=0", "gateway.replicas: Must be greater than or equal to 1")]
    // Times.
    [InlineData("gateway.preStop=5s", "gateway.preStop is \"5s\"; it must be a time of whole seconds in quotes")]
    [InlineData("pools[0].targetWait=30s", "pools[0].targetWait is \"30s\"; it must be a time")]
    [InlineData(
        "silo.shutdownTimeout=00:00:11",
        "silo.shutdownTimeout is 00:00:11; it must be more than 1 s longer than silo.drainTimeout (00:00:10)")]
    [InlineData("pools[0].shutdownTimeout=00:00:11", "pools[0].shutdownTimeout is 00:00:11; it must be more than 1 s")]
    [InlineData(
        "silo.leaveTimeout=00:00:25",
        "silo.shutdownTimeout is 00:00:25; it must be longer than silo.leaveTimeout (00:00:25)")]
    // Stores.
    [InlineData("blobs.volume.existingClaim=", "blobs sets no store; it must set exactly one of blobs.azure.endpoint")]
    [InlineData(
        "blobs.volume.create=true",
        "blobs sets blobs.volume.existingClaim and blobs.volume.create; it must set exactly one")]
    [InlineData(
        "redis.builtin.enabled=false",
        "redis.external.existingSecret is empty; it must be the name of a Secret")]
    [InlineData(
        "redis.external.existingSecret=x",
        "redis.builtin.enabled is true and redis.external.existingSecret is x; turn the former off")]
    [InlineData(
        "blobs.azure.endpoint=http://x blobs.volume.existingClaim= blobs.azure.clientId=x",
        "blobs.azure.endpoint is http://x; it must be the URL of the account's blob service")]
    [InlineData(
        "blobs.azure.endpoint=https://x blobs.volume.existingClaim=",
        "blobs.azure.clientId is empty; with blobs.azure.endpoint it must be the client ID")]
    // Models.
    [InlineData("models.shapes.source=null", "models.shapes.source is missing; it must be volume, image or blob")]
    [InlineData("models.shapes.claim=null", "models.shapes.claim is missing; source volume requires it")]
    [InlineData("models.shapes.digest=0", "models.shapes.digest: Invalid type. Expected: string")]
    [InlineData(
        "models.shapes.image=x",
        "models.shapes.image does not apply to source volume, which has claim, subPath")]
    [InlineData(
        "models.other.source=blob models.other.digest=abc",
        "models.other.digest is abc; it must be the model's SHA-256 in 64")]
    [InlineData(
        "models.Big_One.source=volume models.Big_One.claim=x",
        "models has the name Big_One; it must be 1 to 40 lower-case letters")]
    // Pools.
    [InlineData(
        "pools={}",
        "pools has none that draws; at least one must have the role inference and one or more models")]
    [InlineData("pools[0].roles[0]=training", "pools has none that draws; at least one must have the role inference")]
    [InlineData("pools[0].roles=null", "pools[0].roles is empty; it must have inference, training or both")]
    [InlineData("pools[0].name=null", "pools[0].name is \"\"; it must be 1 to 20 lower-case letters")]
    [InlineData("pools[0].name=Draw", "pools[0].name is \"Draw\"; it must be 1 to 20 lower-case letters")]
    [InlineData(
        "pools[0].name=gateway",
        "pools[0].name is gateway, which another part of the cluster has; choose a different name")]
    [InlineData(
        "pools[1].name=draw pools[1].roles[0]=training",
        "pools[1].name is draw, which another pool has; each pool must have a name of its own")]
    [InlineData("pools[0].min=5 pools[0].max=2", "pools[0].min is 5; it must be at most max (2)")]
    [InlineData("pools[0].max=0 pools[0].min=0", "pools[0].max is 0; it must be 1 or more")]
    [InlineData(
        "pools[0].min=0 pools[0].max=2",
        "pools[0].min is 0; it must be 1 or more, because without autoscaling.enabled")]
    [InlineData("pools[0].models={}", "pools[0].models is empty; a pool with the inference role must have one or more")]
    [InlineData("pools[0].models[0]=other", "pools[0].models has other; it must be a name of models, which has shapes")]
    [InlineData(
        "pools[0].spot=true",
        "spot.provider is empty; it must be azure, aws or gcp, because pools[0].spot is true")]
    [InlineData("pools[0].cacheSize=big", "pools[0].cacheSize is big; it must be a size such as 20Gi or 512Mi")]
    // Gateways.
    [InlineData(
        "gateway.autoscaling.min=11",
        "gateway.autoscaling.min is 11; it must be at most gateway.autoscaling.max (10)")]
    [InlineData(
        "gateway.resources.requests.cpu=null",
        "gateway.resources.requests.cpu is missing; gateway.autoscaling needs it")]
    [InlineData("ingress.enabled=true", "ingress.host is empty; it must be the host name of the API")]
    [InlineData("ingress.tlsSecret=x", "ingress.tlsSecret has no effect; set ingress.enabled, or leave it out")]
    [InlineData("httpRoute.enabled=true", "httpRoute.parentRefs is empty; it must have one or more Gateways")]
    // Further settings.
    [InlineData("config.Foo=1", "config has Foo; it must be a key of docs/configuration.md with colons")]
    [InlineData(
        "silo.config.Silo:ShutdownTimeout=00:01:00",
        "silo.config has Silo:ShutdownTimeout; leave it out and set silo.shutdownTimeout")]
    [InlineData(
        "gateway.config.Gateway:AdminKey=x",
        "gateway.config has Gateway:AdminKey; leave it out and set secrets.existing")]
    [InlineData(
        "pools[0].config.Models:Folders:0=/x",
        "pools[0].config has Models:Folders:0; leave it out and set pools[].models")]
    public async Task ABadValue_IsRefused_WithWhatWouldBeRight(string changes, string message)
    {
        IEnumerable<string> sets = changes.Split(' ').SelectMany(change => new[] { "--set", change });
        (int code, string text, string error) = await Renderer.RunAsync(
            ["-f", Repository.ValuesOf("smallest"), .. sets]);
        Assert.NotEqual(0, code);
        Assert.DoesNotContain("kind:", text, StringComparison.Ordinal);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(
        null, "admin-key",
        "secrets.existing is pictures-secrets; its key cluster-secret is missing. It has admin-key.")]
    [InlineData("", "x", "its key cluster-secret must not be empty")]
    [InlineData("short", "x", "its key cluster-secret must be 32 bytes or more in base64")]
    [InlineData(GoodSecret, "x", "its key admin-key must have 32 to 256 characters and no white space")]
    [InlineData(GoodSecret, null, "its key admin-key is missing")]
    [InlineData(GoodSecret, "admin-key", null)]
    public async Task ASecretThatLacksSomething_IsRefused(string? secret, string? key, string? message)
    {
        string error = await InstalledAsync(
            "production", ("pictures-secrets", "cluster-secret", secret),
            ("pictures-secrets", "admin-key", key == "admin-key" ? s_goodKey : key),
            ("pictures-redis", "redis-connection", "redis.example.com:6380"));
        Assert.Equal(message is null, error.Length == 0);
        Assert.Contains(message ?? "", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("c2hvcnQ=", "its key cluster-secret-accepted must be 32 bytes or more in base64")]
    [InlineData("", "its key cluster-secret-accepted must not be empty")]
    [InlineData(GoodSecret, "its key cluster-secret-accepted must differ from cluster-secret, or be left out")]
    [InlineData("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "")]
    public async Task AnAcceptedSecret_IsAnother(string accepted, string message)
    {
        string error = await InstalledAsync(
            "production", ("pictures-secrets", "cluster-secret", GoodSecret),
            ("pictures-secrets", "admin-key", s_goodKey), ("pictures-secrets", "cluster-secret-accepted", accepted),
            ("pictures-redis", "redis-connection", "redis.example.com:6380"));
        Assert.Equal(message.Length == 0, error.Length == 0);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(
        "production", "pictures-redis", "url",
        "redis.external.existingSecret is pictures-redis; its key redis-connection is missing. It has url.")]
    [InlineData(
        "gpu-spot", "account", "key",
        "blobs.azure.existingSecret is account; its key blobs-azure is missing. It has key.")]
    [InlineData(
        "gateway-api", "art", "redis-password",
        "secrets.existing is art; its key redis-password must be 16 to 256 letters and digits.")]
    public async Task ASecretOfAStoreThatDoesNotFit_IsRefused(string set, string secret, string key, string message) =>
        Assert.Contains(
            message, await InstalledAsync(set, (secret, key, "a secret, with a comma")), StringComparison.Ordinal);

    [Fact]
    public async Task AllFaults_AreReportedAtOnce()
    {
        (_, _, string error) = await Renderer.RunAsync(
            "-f", Repository.ValuesOf("smallest"), "--set", "ingress.enabled=true", "--set", "pools[0].cacheSize=big",
            "--set", "gateway.preStop=soon");
        Assert.Equal(3, error.Split("\n- ").Length - 1);
    }

    // The error of a set in a cluster that has these entries of Secrets; null is left out.
    private static async Task<string> InstalledAsync(
        string set, params (string Secret, string Key, string? Value)[] entries)
    {
        var text = new StringBuilder();
        foreach (string name in entries.Select(entry => entry.Secret).Distinct())
        {
            text.AppendLine(
                $$"""- {apiVersion: v1, kind: Secret, metadata: {name: {{name}}, namespace: art}, data: {""");
            foreach ((_, string key, string? value) in entries.Where(one => one.Secret == name))
            {
                text.AppendLine(
                    value is null ? "" : $"  {key}: \"{Convert.ToBase64String(Encoding.UTF8.GetBytes(value))}\",");
            }

            text.AppendLine("  }}");
        }

        string file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, text.ToString());
        (_, _, string error) = await Renderer.RunAsync("-f", Repository.ValuesOf(set), "--lookup", file);
        File.Delete(file);
        Assert.All(entries, entry => Assert.True(
            entry.Value is not { Length: > 8 } || !error.Contains(entry.Value, StringComparison.Ordinal)));
        return error;
    }
}
