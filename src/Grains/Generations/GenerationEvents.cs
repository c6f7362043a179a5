// The events of a generation, as a function of its state.
using Atelier.Contracts;
using Atelier.Contracts.Generations;

namespace Atelier.Grains.Generations;

/// <summary>Derives events and the steps of previews.</summary>
public static class GenerationEvents
{
    /// <summary>
    /// Steps after which a preview is due: evenly spread, without the last step, which gives the picture itself.
    /// </summary>
    public static int[] PreviewSteps(Submission submission) =>
    [
        .. Enumerable.Range(1, submission.Previews)
            .Select(i => i * submission.Spec.Steps / (submission.Previews + 1))
            .Where(step => step > 0).Distinct(),
    ];

    /// <summary>
    /// The events after a given one. They are a function of the state alone, so that a grain that restarts gives the
    /// same events with the same numbers.
    /// </summary>
    public static IEnumerable<GenerationEvent> EventsAfter(GenerationState state, EventNumber after)
    {
        if (state.Submission is null)
        {
            yield break;
        }

        int steps = state.Submission.Spec.Steps;
        int[] previewSteps = PreviewSteps(state.Submission);
        foreach (GenerationPhase phase in GenerationPhases.UpTo(state.Reached))
        {
            var number = EventNumber.Of(phase);
            if (number > after)
            {
                yield return new GenerationEvent { Number = number, Phase = phase, Steps = steps };
            }

            if (phase != GenerationPhase.Denoising || EventNumber.Of(phase, state.Step) <= after)
            {
                continue;
            }

            for (int step = number <= after ? after.Step + 1 : 1; step <= state.Step; step++)
            {
                bool previewed = state.Previews.TryGetValue(step, out BlobName preview);
                yield return new GenerationEvent
                {
                    Number = EventNumber.Of(phase, step), Phase = phase, Step = step, Steps = steps,
                    Preview = previewed ? preview : null,
                    PreviewIndex = previewed ? previewSteps.Count(earlier => earlier < step) : 0,
                };
            }
        }

        var end = EventNumber.Of(GenerationPhase.Done);
        if (!state.IsOpen && end > after)
        {
            yield return new GenerationEvent
            {
                Number = end, Phase = state.Phase, Step = state.Step, Steps = steps, Picture = state.Picture,
                Error = state.Error, Message = state.Message,
            };
        }
    }
}
