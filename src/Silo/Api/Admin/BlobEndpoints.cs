// The administrator's sweep of the blob store.
using System.Runtime.CompilerServices;
using Atelier.Grains.Blobs;
using Atelier.Grains.Ports;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Admin;

/// <summary>Routes of the blob store.</summary>
internal sealed class BlobEndpoints(IBlobStore blobs, BlobOwners owners, ServerSentEvents sse, TimeProvider clock)
{
    private const string BlobEvent = "blob";
    private const string DoneEvent = "done";
    private const int GraceHoursMax = 10 * 365 * 24;

    public static void Map(IEndpointRouteBuilder routes) => routes
        .MapPost("/admin/blobs/sweep", (HttpContext context, BlobEndpoints endpoints) => endpoints.SweepAsync(context))
        .WithTags("Administration").For(Audience.Administrators)
        .WithName("sweepBlobs")
        .WithSummary("Lists stored blobs that no owner needs, and removes them unless it is a dry run.")
        .WithDescription(
            "The response is a stream of server-sent events: an event named blob for each blob that no owner needs, "
            + "then an event named done with the totals. Blobs younger than the grace period are kept, and so are "
            + "those whose owner did not answer. A disconnect ends the sweep; it can be run again at any time.")
        .Accepts<SweepBlobsRequest>(isOptional: true, "application/json")
        .Produces<SweptBlobResponse>(200, "text/event-stream").Refuses(400);

    private async Task<IResult> SweepAsync(HttpContext context)
    {
        JsonFields fields = await RequestBody.FieldsAsync<SweepBlobsRequest>(context.Request);
        bool isDryRun = fields.Flag("dry_run") ?? true;
        long hours = fields.Whole("grace_hours", (long)BlobSweep.GraceMin.TotalHours, GraceHoursMax)
            ?? (long)BlobSweep.GraceDefault.TotalHours;
        var sweep = new BlobSweep(blobs, owners, clock, TimeSpan.FromHours(hours), isDryRun);
        await sse.WriteAsync(context, cancellation => EventsAsync(sweep, cancellation), ApiError.Stopping);
        return TypedResults.Empty;
    }

    private static async IAsyncEnumerable<ServerSentEvent> EventsAsync(
        BlobSweep sweep, [EnumeratorCancellation] CancellationToken cancellation)
    {
        await using IAsyncEnumerator<SweptBlob> found = sweep.RunAsync(cancellation).GetAsyncEnumerator(cancellation);
        while (await NextAsync(found))
        {
            (StoredBlob blob, bool isRemoved) = found.Current;
            yield return new ServerSentEvent(BlobEvent, null, new SweptBlobResponse(
                blob.Name.Value, blob.Length, [.. blob.Holders.Select(holder => holder.Spelling)], blob.PutAt,
                isRemoved));
        }

        yield return new ServerSentEvent(DoneEvent, null, SweepResponse.Of(sweep));
    }

    private static async Task<bool> NextAsync(IAsyncEnumerator<SweptBlob> found)
    {
        try
        {
            return await found.MoveNextAsync();
        }
        catch (IOException error)
        {
            throw new ApiException(ApiError.Unavailable, error);
        }
    }
}
