// A request for images in progress: n generations that are submitted, followed and, if need be, cancelled together. A
// retry by a client that lost its response joins the generations of the first attempt.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Sessions;
using Atelier.Grains;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Images;

/// <summary>A request for images in progress.</summary>
internal sealed class ImagesRun
{
    /// <summary>Gets the tenant that sent the request.</summary>
    public required TenantId Tenant { get; init; }

    /// <summary>Gets the request as parsed.</summary>
    public required ImagesRequest Request { get; init; }

    /// <summary>Gets the model.</summary>
    public required ModelCard Model { get; init; }

    /// <summary>Gets the SHA-256 of the request's body, by which a retry finds the request.</summary>
    public required string Digest { get; init; }

    /// <summary>Gets or sets the specifications, by image.</summary>
    public GenerationSpec[] Specs { get; set; } = [];

    /// <summary>Gets or sets the generations, by image.</summary>
    public GenerationKey[] Keys { get; set; } = [];

    /// <summary>Gets or sets whether the request joined an earlier one.</summary>
    public bool Joined { get; set; }
}

/// <summary>Submits, follows and cancels the generations of requests for images.</summary>
internal sealed class ImagesRuns(
    IGrainFactory grains, GrainCaller calls, GenerationWatch watch, AbandonedGenerations abandoned,
    ApiInstruments instruments)
{
    /// <summary>Submits the generations of a request.</summary>
    /// <param name="run">The request.</param>
    /// <param name="retry">Whether the client has sent the request before.</param>
    /// <exception cref="ApiException">A generation was refused.</exception>
    public async Task BeginAsync(ImagesRun run, bool retry)
    {
        GenerationId first = NewIds.Generation();
        ulong seed = run.Request.Drawing.Seed ?? NewIds.SeedOf(new GenerationKey(run.Tenant, first));
        RecentRequest known = await RememberAsync(run, first, seed, retry);
        run.Joined = known.First != first;
        if (await SubmitAsync(run, known))
        {
            if (run.Joined)
            {
                instruments.Joined();
            }

            return;
        }

        // The generations to join were cancelled or deleted, so the same request is submitted under new ids.
        await ResubmitAsync(run, known.Seed);
    }

    /// <summary>Streams the events of all images in order of arrival.</summary>
    /// <exception cref="ApiException">The cluster has been unreachable for too long.</exception>
    public async IAsyncEnumerable<ImageEvent> ProgressAsync(
        ImagesRun run, [EnumeratorCancellation] CancellationToken cancellation)
    {
        bool resubmit;
        do
        {
            resubmit = false;
            await foreach (ImageEvent one in watch.MergeAsync(run.Keys, cancellation))
            {
                // The other clients disconnected before this one followed the generation, so it was cancelled as
                // abandoned. Any other cancellation was requested, and is not undone.
                if (one.Event.IsAbandoned)
                {
                    resubmit = true;
                    break;
                }

                yield return one;
            }

            if (resubmit)
            {
                await LeaveAsync(run);
                await ResubmitAsync(run, run.Specs[0].Seed);
            }
        }
        while (resubmit);
    }

    /// <summary>How much of the prompts was encoded for an image that is done; null if that is not known.</summary>
    public async Task<EncodedPrompts?> EncodedAsync(ImagesRun run, int image) =>
        (await calls.CallAsync(() => grains.Generation(run.Keys[image]).ViewAsync()))?.Encoded;

    /// <summary>
    /// Cancels those generations that have not ended and that no other client follows, on this silo or another.
    /// </summary>
    public Task LeaveAsync(ImagesRun run) => abandoned.CancelUnwatchedAsync(run.Keys);

    private async Task ResubmitAsync(ImagesRun run, ulong seed)
    {
        RecentRequest known = await RememberAsync(run, NewIds.Generation(), seed, retry: false);
        run.Joined = false;
        await SubmitAsync(run, known);
    }

    private Task<RecentRequest> RememberAsync(ImagesRun run, GenerationId first, ulong seed, bool retry) =>
        calls.CallAsync(
        () => grains.GetGrain<IRecentRequestsGrain>(run.Tenant.Value).BeginAsync(run.Digest, first, seed, retry));

    // Returns false if the request joined one whose generations no longer exist.
    private async Task<bool> SubmitAsync(ImagesRun run, RecentRequest known)
    {
        GenerationSpec spec = run.Request.Drawing.ToSpec(run.Model, known.Seed, run.Request.Effort);
        run.Specs = new GenerationSpec[run.Request.Images];
        for (int i = 0; i < run.Specs.Length; i++)
        {
            run.Specs[i] = spec with { Seed = unchecked(spec.Seed + (ulong)i) };
        }

        GenerationKey[] keys =
            [.. run.Specs.Select((_, i) => new GenerationKey(run.Tenant, NewIds.Image(known.First, i)))];
        for (int i = 0; i < keys.Length; i++)
        {
            var submission = new Submission { Spec = run.Specs[i], Previews = run.Request.Partials };
            IGenerationGrain generation = grains.Generation(keys[i]);
            SubmitAnswer answer = await calls.CallAsync(() => generation.SubmitAsync(submission));
            if (run.Joined
                && (answer.Outcome is SubmitOutcome.Gone or SubmitOutcome.Conflict
                    || answer.View?.Phase == GenerationPhase.Cancelled))
            {
                return false;
            }

            if (ApiError.Of(answer) is { } error)
            {
                // An incomplete set of images is of no use to the client, so the generations submitted so far are
                // cancelled.
                run.Keys = keys[..i];
                await LeaveAsync(run);
                throw new ApiException(error);
            }
        }

        run.Keys = keys;
        return true;
    }
}
