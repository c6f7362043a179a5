// The admission of a submission. It checks, in this order: the model, the tenant's limits, the queue (only a hint: work
// that is not accepted is dropped when a worker claims it), the open set, the session's history. The generation then
// stores its state and answers. If the admission fails, the tenant is refunded; if the refund call is lost, the
// tenant's grain asks the generation after a while.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Queueing;
using Atelier.Contracts.Tenants;
using Atelier.Grains.OpenSets;

namespace Atelier.Grains.Generations;

/// <summary>Outcome of an admission.</summary>
/// <param name="Accepted">The state to store; null if the submission is refused.</param>
/// <param name="Place">The generation's place in the queue.</param>
/// <param name="Refusal">The answer to the client if the submission is refused.</param>
internal sealed record AdmittedSubmission(GenerationState? Accepted, QueuePlace? Place, SubmitAnswer? Refusal)
{
    /// <summary>Creates a refusal.</summary>
    public static AdmittedSubmission Refused(SubmitOutcome outcome, string? message, TimeSpan? retryAfter = null) =>
        new(null, null, new SubmitAnswer(outcome, message, retryAfter));
}

/// <summary>Admits submissions.</summary>
internal sealed class SubmissionAdmission(
    GenerationMachine machine, OpenSetMap openSets, IGrainFactory grains, TimeProvider clock)
{
    /// <summary>Admits a submission, or returns the refusal.</summary>
    public async Task<AdmittedSubmission> AdmitAsync(GenerationKey key, Submission submission)
    {
        if (submission.Spec.Fault() is { } fault)
        {
            return AdmittedSubmission.Refused(SubmitOutcome.Invalid, fault);
        }

        if (submission.Previews is < 0 or > Submission.PreviewsMax)
        {
            return AdmittedSubmission.Refused(
                SubmitOutcome.Invalid,
                $"Previews must be in 0..{Submission.PreviewsMax}, not {submission.Previews}.");
        }

        ModelCard? card = await grains.Catalog().FindAsync(submission.Spec.Model.Value);
        if (card is null)
        {
            return AdmittedSubmission.Refused(
                SubmitOutcome.UnknownModel, $"There is no model {submission.Spec.Model} in this cluster.");
        }

        if (card.ReplacedBy is { } newer)
        {
            return AdmittedSubmission.Refused(
                SubmitOutcome.UnknownModel, $"{Retired(card, newer)} Use that model.");
        }

        var size = new PictureSize(submission.Spec.Width, submission.Spec.Height);
        return card.Sizes.Contains(size)
            ? await PlaceAsync(key, submission, card)
            : AdmittedSubmission.Refused(
                SubmitOutcome.Invalid, $"This model draws pictures of {string.Join(", ", card.Sizes)}, not of {size}.");
    }

    /// <summary>The message for a model that was replaced by a newer one with its name.</summary>
    public static string Retired(ModelCard card, ModelDigest newer) =>
        $"The model {card.Digest} is retired: no worker holds it, and its name '{card.Name}' now means {newer}.";

    private async Task<AdmittedSubmission> PlaceAsync(GenerationKey key, Submission submission, ModelCard card)
    {
        try
        {
            Admission admission = await grains.Tenant(key.Tenant).AdmitAsync(key.Id, submission.Spec.Evaluations);
            if (admission.Outcome != AdmissionOutcome.Admitted)
            {
                return AdmittedSubmission.Refused(
                    OutcomeOf(admission.Outcome), admission.Message, admission.RetryAfter);
            }

            GenerationState accepted = GenerationMachine.Accept(
                submission, admission.Weight, GenerationCost.Of(card, submission), clock.GetUtcNow()) with
            {
                WeightVersion = admission.WeightVersion,
                ChargedDay = admission.Day,
            };
            OfferAnswer offer = await grains.WorkQueue().OfferAsync(machine.Item(accepted, key), admitted: false);
            if (offer.Outcome != OfferOutcome.Queued)
            {
                await SettleAsync(key);
                bool isOwn = offer.Outcome == OfferOutcome.TenantFull;
                string whose = isOwn ? "This tenant's part of the queue" : "The queue";
                return AdmittedSubmission.Refused(
                    SubmitOutcome.Busy, $"{whose} is full; retry later.", offer.RetryAfter);
            }

            if (await EnterAsync(key) is not var (partition, hour))
            {
                return await RollBackAsync(
                    key, SubmitOutcome.Busy, "The maximum number of open generations is reached; retry later.",
                    TimeSpan.FromSeconds(5));
            }

            int? index = null;
            if (submission.Session is { } session)
            {
                index = await grains.Session(new SessionKey(key.Tenant, session)).ListAsync(key.Id);
                if (index is null)
                {
                    return await RollBackAsync(
                        key, SubmitOutcome.Gone, $"The session '{session}' was deleted; open a new one.", null);
                }
            }

            accepted = accepted with { Partition = partition, AcceptedHour = hour, SessionIndex = index };
            return new AdmittedSubmission(accepted, offer.Place, null);
        }
        catch (Exception error) when (GrainCalls.IsTransient(error))
        {
            await GrainCalls.TryAsync(() => SettleAsync(key));
            throw;
        }
    }

    private async Task<AdmittedSubmission> RollBackAsync(
        GenerationKey key, SubmitOutcome outcome, string message, TimeSpan? retryAfter)
    {
        await grains.WorkQueue().WithdrawAsync(key);
        await SettleAsync(key);
        return AdmittedSubmission.Refused(outcome, message, retryAfter);
    }

    private Task SettleAsync(GenerationKey key) => grains.Tenant(key.Tenant).SettleAsync(key.Id, 0);

    // A retry after a lost answer may enter the generation into a second partition. A walk through the partition that
    // its state does not name removes the generation after it has ended.
    private async Task<(int Partition, long Hour)?> EnterAsync(GenerationKey key)
    {
        foreach (int partition in await openSets.PartitionsOfAsync(key.ToString()))
        {
            if (await grains.GetGrain<IOpenSetGrain>(partition).EnterAsync(key) is { } hour)
            {
                return (partition, hour);
            }
        }

        return null;
    }

    private static SubmitOutcome OutcomeOf(AdmissionOutcome outcome) => outcome switch
    {
        AdmissionOutcome.RateLimited => SubmitOutcome.RateLimited,
        AdmissionOutcome.TooManyOpen => SubmitOutcome.TooManyOpen,
        AdmissionOutcome.DailyLimit => SubmitOutcome.DailyLimit,
        AdmissionOutcome.TooMuchStored => SubmitOutcome.TooMuchStored,
        AdmissionOutcome.StoreFull => SubmitOutcome.StoreFull,
        _ => SubmitOutcome.UnknownTenant,
    };
}
