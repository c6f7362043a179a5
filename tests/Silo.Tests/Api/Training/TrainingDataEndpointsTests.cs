// Goal: the pieces of a data set are stored once, by their digests, and a run that names a data set that the store does
// not have is refused. Method: requests over HTTP against a cluster in one process.
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model.Data.Caching;
using Xunit;

namespace Atelier.Silo.Tests.Api.Training;

[Collection(nameof(ApiCluster))]
public sealed class TrainingDataEndpointsTests(ApiCluster cluster)
{
    private static readonly string s_set = new('a', 64);

    [Fact]
    public async Task APiece_IsStoredOnce_AndHeldForEveryDataSetThatNeedsIt()
    {
        using HttpClient admin = cluster.Admin();
        byte[] piece = RandomNumberGenerator.GetBytes(3 << 20); // More than other bodies may have.
        string digest = Hash(piece), other = new('b', 64);
        await admin.SendAsync(HttpMethod.Post, $"/v1/training/data/{s_set}/{digest}/hold")
            .ErrorAsync(HttpStatusCode.NotFound);
        for (int i = 0; i < 2; i++)
        {
            await PutAsync(admin, s_set, digest, piece, HttpStatusCode.NoContent);
        }

        Assert.Equal(
            HttpStatusCode.NoContent,
            (await admin.SendAsync(HttpMethod.Post, $"/v1/training/data/{other}/{digest}/hold")).StatusCode);
        BlobName name = BlobName.OfCluster(BlobKind.Data, digest);
        var owners = new List<string>();
        await foreach (StoredBlob blob in cluster.Blobs().ListAsync(ApiCluster.Cancellation))
        {
            owners.AddRange(blob.Name == name ? blob.Holders.Select(holder => holder.Spelling) : []);
        }

        Assert.Equal([$"data.{s_set}", $"data.{other}"], owners.Order());
    }

    [Fact]
    public async Task WrongPieces_AreRefused()
    {
        using HttpClient admin = cluster.Admin();
        byte[] piece = [1, 2, 3];
        await PutAsync(admin, s_set, new string('0', 64), piece, HttpStatusCode.BadRequest);
        await PutAsync(admin, s_set, "x", piece, HttpStatusCode.BadRequest);
        await PutAsync(admin, "run", Hash(piece), piece, HttpStatusCode.BadRequest);
        using HttpClient tenant = await cluster.ClientAsync("data-tenant");
        await PutAsync(tenant, s_set, Hash(piece), piece, HttpStatusCode.Forbidden);
    }

    [Fact]
    public async Task ARunWhoseDataAreNotInTheStore_IsRefused_AndAcceptedOnceTheyAre()
    {
        using HttpClient admin = cluster.Admin();
        byte[] index = Encoding.ASCII.GetBytes("{}");
        byte[] manifest = new DataManifest(
            [new DataFile("index.json", index.Length, Hash(index), [new DataPiece(Hash(index), index.Length)])])
            .Write();
        string body = RunsTests.RunOf("data-run", [[$"dataset.train.datadir=blob:{Hash(manifest)}"]]);
        (_, _, string message) = await admin.SendAsync(HttpMethod.Post, "/v1/training/runs", body)
            .ErrorAsync(HttpStatusCode.BadRequest);
        Assert.Contains("is not in the cluster's store; `atelier runs submit --upload` uploads it", message);

        await PutAsync(admin, Hash(manifest), Hash(manifest), manifest, HttpStatusCode.NoContent);
        await admin.SendAsync(HttpMethod.Post, "/v1/training/runs", body).JsonAsync(HttpStatusCode.Accepted);
        var run = cluster.Grains.GetGrain<Contracts.Training.ITrainingRunGrain>("data-run");
        Assert.True(await run.NamesDataAsync(Hash(manifest)));
        Assert.False(await run.NamesDataAsync(s_set));

        // The data of a paused run are needed when it resumes.
        await run.PauseAsync(isImmediate: true);
        await RunsTests.UntilAsync(admin, "data-run", "paused");
        Assert.True(await run.NamesDataAsync(Hash(manifest)));
        await admin.SendAsync(HttpMethod.Delete, "/v1/training/runs/data-run");
        Assert.False(await run.NamesDataAsync(Hash(manifest)));

        foreach (string wrong in new[] { "blob:", $"blob:{Hash(index)[1..]}" })
        {
            (_, _, message) = await admin.SendAsync(
                HttpMethod.Post, "/v1/training/runs", RunsTests.RunOf("wrong", [[$"dataset.train.datadir={wrong}"]]))
                .ErrorAsync(HttpStatusCode.BadRequest);
            Assert.Contains("must be blob: and 64 lower-case hexadecimal digits", message);
        }
    }

    private static async Task PutAsync(
        HttpClient client, string set, string digest, byte[] bytes, HttpStatusCode status)
    {
        using var content = new ByteArrayContent(bytes);
        using HttpResponseMessage answer = await client.PutAsync(
            new Uri($"/v1/training/data/{set}/{digest}", UriKind.Relative), content, ApiCluster.Cancellation);
        Assert.Equal(status, answer.StatusCode);
    }

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}
