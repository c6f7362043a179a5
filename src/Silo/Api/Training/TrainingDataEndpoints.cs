// The administrator's routes for uploading training data to the blob store.
using Atelier.Contracts;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Data.Caching;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Training.Data;
using Microsoft.AspNetCore.Http.Features;

namespace Atelier.Silo.Api.Training;

/// <summary>Handlers of /v1/training/data.</summary>
internal sealed class TrainingDataEndpoints(IBlobStore blobs, TimeProvider clock)
{
    private const string Pieces = "The pieces of a data set are stored first and its manifest, whose SHA-256 is the "
        + "data set's name, last. They are kept while an open run names the data set as blob:SHA-256, and for the "
        + "grace period of a sweep.";

    // Of reading a manifest while a run is submitted.
    private static readonly TimeSpan s_checkMax = TimeSpan.FromSeconds(5);

    public static void Map(IEndpointRouteBuilder routes)
    {
        RouteGroupBuilder group = routes.MapGroup("/training/data/{set}").WithTags("Training")
            .For(Audience.Administrators);
        group.MapPost(
            "{sha256}/hold", (string set, string sha256, HttpContext context, TrainingDataEndpoints endpoints) =>
                endpoints.HoldAsync(set, sha256, context.RequestAborted))
            .WithName("holdData")
            .WithSummary("Keeps a piece for a data set if the store has it; otherwise it must be uploaded.")
            .WithDescription(Pieces)
            .Produces(204).Refuses(400, 404);
        group.MapPut("{sha256}", (string set, string sha256, HttpContext context, TrainingDataEndpoints endpoints) =>
            endpoints.PutAsync(set, sha256, context))
            .WithName("putData")
            .WithSummary("Stores a piece of a data set, up to 16 MiB. Idempotent.")
            .WithDescription(Pieces)
            .Accepts<Stream>("application/octet-stream").Produces(204).Refuses(400, 413);
    }

    /// <summary>Checks that the store has the data sets that a stage names.</summary>
    /// <param name="folders">The entries of dataset.train.datadir.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="RefusedFileException">A data set is missing or is not valid.</exception>
    public async Task CheckAsync(IEnumerable<string> folders, CancellationToken cancellation)
    {
        foreach (string entry in folders)
        {
            try
            {
                if (DataManifest.DigestIn(entry) is { } digest)
                {
                    await new BlobData(blobs, s_checkMax, clock).ReadManifestAsync(digest, cancellation);
                }
            }
            catch (FileNotFoundException error)
            {
                throw new RefusedFileException(
                    entry, "data set", "is not in the cluster's store; `atelier runs submit --upload` uploads it.",
                    error);
            }
            catch (Exception error) when (error is InvalidDataException or (IOException and not RefusedFileException))
            {
                throw new ApiException(ApiError.Unavailable, error);
            }
        }
    }

    private async Task<IResult> HoldAsync(string set, string sha256, CancellationToken cancellation)
    {
        (BlobName name, BlobOwner owner) = Parse(set, sha256);
        try
        {
            await using BlobContent? content = await blobs.OpenAsync(name, default, cancellation);
            if (content is null)
            {
                return ApiError.NotFound("piece");
            }

            await blobs.PutAsync(name, owner, content.Stream, content.Length, cancellation);
            return TypedResults.NoContent();
        }
        catch (InvalidDataException)
        {
            return ApiError.NotFound("piece"); // A damaged one is replaced when it is uploaded.
        }
        catch (IOException error)
        {
            throw new ApiException(ApiError.Unavailable, error);
        }
    }

    private async Task<IResult> PutAsync(string set, string sha256, HttpContext context)
    {
        (BlobName name, BlobOwner owner) = Parse(set, sha256);
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = DataManifest.PieceBytesMax;
        }

        using var bytes = new MemoryStream();
        await context.Request.Body.CopyToAsync(bytes, context.RequestAborted);
        bytes.Position = 0;
        try
        {
            await blobs.PutAsync(name, owner, bytes, bytes.Length, context.RequestAborted);
            return TypedResults.NoContent();
        }
        catch (InvalidDataException)
        {
            return ApiError.Invalid("sha256", "invalid_value", "The body does not have the SHA-256 in the path.");
        }
        catch (IOException error)
        {
            throw new ApiException(ApiError.Unavailable, error);
        }
    }

    private static (BlobName Name, BlobOwner Owner) Parse(string set, string sha256) =>
        BlobName.TryParse($"data/{sha256}", out BlobName name) && BlobName.TryParse($"data/{set}", out _)
            ? (name, new BlobOwner(BlobOwnerType.DataSet, set))
            : throw new ApiException(ApiError.Invalid(
                "sha256", "invalid_value",
                "The path must have two SHA-256 digests of 64 lower-case hexadecimal digits."));
}
