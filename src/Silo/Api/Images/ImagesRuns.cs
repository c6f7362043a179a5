// A request for images as the cluster works on it: n generations that are submitted, followed and, if need be,
// cancelled together. A request that a client sends again, because its answer was lost, joins what is under way.
using System.Runtime.CompilerServices;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Sessions;
using Atelier.Grains;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Api.Http;

namespace Atelier.Silo.Api.Images;

/// <summary>A request under way.</summary>
internal sealed class ImagesRun
{
    /// <summary>Gets whose it is.</summary>
    public required TenantId Tenant { get; init; }

    /// <summary>Gets what was asked for.</summary>
    public required ImagesRequest Request { get; init; }

    /// <summary>Gets the model.</summary>
    public required ModelCard Model { get; init; }

    /// <summary>Gets the SHA-256 of the request's body.</summary>
    public required string Digest { get; init; }

    /// <summary>Gets or sets what is drawn, image by image.</summary>
    public GenerationSpec[] Specs { get; set; } = [];

    /// <summary>Gets or sets the generations, image by image.</summary>
    public GenerationKey[] Keys { get; set; } = [];

    /// <summary>Gets or sets whether it joined an earlier request.</summary>
    public bool Joined { get; set; }
}

/// <summary>Begins, follows and cancels requests for images.</summary>
internal sealed class ImagesRuns(
    IGrainFactory grains, GrainCaller calls, GenerationWatch watch, ApiInstruments instruments)
{
    /// <summary>Submits the generations of a request.</summary>
    /// <param name="run">The request.</param>
    /// <param name="again">Whether the client has sent it before.</param>
    /// <exception cref="ApiException">It was refused.</exception>
    public async Task BeginAsync(ImagesRun run, bool again)
    {
        GenerationId first = NewIds.Generation();
        ulong seed = run.Request.Drawing.Seed ?? NewIds.SeedOf(new GenerationKey(run.Tenant, first));
        RecentRequest known = await RememberAsync(run, first, seed, again);
        run.Joined = known.First != first;
        if (await SubmitAsync(run, known))
        {
            if (run.Joined)
            {
                instruments.Joined();
            }

            return;
        }

        // What it would join was cancelled or deleted: the same again, under new ids.
        await AnewAsync(run, known.Seed);
    }

    /// <summary>What happens to the images, in the order in which it does.</summary>
    /// <exception cref="ApiException">The cluster has not answered for long.</exception>
    public async IAsyncEnumerable<ImageEvent> ProgressAsync(
        ImagesRun run, [EnumeratorCancellation] CancellationToken cancellation)
    {
        bool anew;
        do
        {
            anew = false;
            await foreach (ImageEvent one in watch.MergeAsync(run.Keys, cancellation))
            {
                // What a request was cancelled for before this one joined it, or while neither watched it yet, is
                // nothing that this client asked for.
                if (one.Event.IsAbandoned || (one.Event.Phase == GenerationPhase.Cancelled && run.Joined))
                {
                    anew = true;
                    break;
                }

                yield return one;
            }

            if (anew)
            {
                await CancelAsync(run);
                await AnewAsync(run, run.Specs[0].Seed);
            }
        }
        while (anew);
    }

    /// <summary>How much of the prompts was encoded for an image that is done; null if that is not known.</summary>
    public async Task<EncodedPrompts?> EncodedAsync(ImagesRun run, int image) =>
        (await calls.CallAsync(() => grains.Generation(run.Keys[image]).ViewAsync()))?.Encoded;

    /// <summary>
    /// Cancels those of the generations that have not ended and that nobody else waits for, on this silo or another.
    /// </summary>
    public Task LeaveAsync(ImagesRun run) =>
        Task.WhenAll(run.Keys.Select(key => calls.CallAsync(() => grains.Generation(key).CancelUnwatchedAsync())));

    /// <summary>Cancels those of the generations that have not ended.</summary>
    public Task CancelAsync(ImagesRun run) =>
        Task.WhenAll(run.Keys.Select(key => calls.CallAsync(() => grains.Generation(key).CancelAsync())));

    private async Task AnewAsync(ImagesRun run, ulong seed)
    {
        RecentRequest known = await RememberAsync(run, NewIds.Generation(), seed, again: false);
        run.Joined = false;
        await SubmitAsync(run, known);
    }

    private Task<RecentRequest> RememberAsync(ImagesRun run, GenerationId first, ulong seed, bool again) =>
        calls.CallAsync(
        () => grains.GetGrain<IRecentRequestsGrain>(run.Tenant.Value).BeginAsync(run.Digest, first, seed, again));

    // False if the request joined one whose generations are not to be had any more.
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
                // A part of a request is worth nothing.
                run.Keys = keys[..i];
                await CancelAsync(run);
                throw new ApiException(error);
            }
        }

        run.Keys = keys;
        return true;
    }
}
