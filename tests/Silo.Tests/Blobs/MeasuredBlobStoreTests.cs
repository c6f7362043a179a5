// Goal: calls of the blob store are measured by operation, and failures by error. Method: a store in a folder that is
// deleted.
using System.Diagnostics.Metrics;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Telemetry;
using Atelier.Silo.Blobs;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public sealed class MeasuredBlobStoreTests
{
    private const string Series = "atelier.blob_store.operation.duration";

    [Fact]
    public async Task Calls_AreMeasured_AndFailuresHaveAnErrorType()
    {
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        await using ServiceProvider services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        IMeterFactory meters = services.GetRequiredService<IMeterFactory>();
        string folder = Directory.CreateTempSubdirectory("measured").FullName;
        var store = new MeasuredBlobStore(
            new FolderBlobStore(new FolderBlobStoreOptions { Folder = folder }, TimeProvider.System),
            new StoreInstruments(meters), TimeProvider.System);
        using var measurements = new Measurements(meters);
        var owner = new GenerationKey(new TenantId("tenant"), new GenerationId("g"));
        BlobName name = await store.PutAsync(BlobKind.Caption, owner, [1, 2, 3], cancellation);
        Assert.Equal([1, 2, 3], await store.GetAsync(name, cancellation));
        Assert.Null(await store.GetAsync(BlobBytes.NameOf(BlobKind.Caption, owner.Tenant, [4]), cancellation));
        Assert.Equal(name, Assert.Single(await store.ListAsync(cancellation).ToArrayAsync(cancellation)).Name);
        Assert.False(await store.ReleaseOlderAsync(
            name, BlobOwner.Of(owner.Id), DateTimeOffset.MinValue, cancellation));
        await store.ReleaseAsync(name, BlobOwner.Of(owner.Id), cancellation);
        Directory.Delete(folder, recursive: true);
        await File.WriteAllTextAsync(folder, "not a folder", cancellation);
        try
        {
            await Assert.ThrowsAnyAsync<IOException>(
                () => store.PutAsync(BlobKind.Caption, owner, [1, 2, 3], cancellation));
        }
        finally
        {
            File.Delete(folder);
        }

        Assert.Equal(1, measurements.Count($"{Series}{{atelier.operation=put}}"));
        Assert.Equal(2, measurements.Count($"{Series}{{atelier.operation=get}}"));
        foreach (string operation in (string[])["list", "release_older", "release"])
        {
            Assert.Equal(1, measurements.Count($"{Series}{{atelier.operation={operation}}}"));
        }

        Assert.Equal(
            1, measurements.Series.Where(one => one.Contains("put,error.type=", StringComparison.Ordinal))
                .Sum(measurements.Count));
    }
}
