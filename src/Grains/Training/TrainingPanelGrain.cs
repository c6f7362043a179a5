// The drawing of panels on a silo that draws pictures: a checkpoint becomes a model for a while, its pictures are
// ordinary work of the cluster, and the sheet goes to the stage. Nothing is stored here. Every part is idempotent, so a
// stage whose silo dies asks another one.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Models;
using Atelier.Contracts.Tenants;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Grains.Workers;
using Atelier.Training.Checkpoints;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Concurrency;
using Orleans.Placement;

namespace Atelier.Grains.Training;

/// <summary>Draws the panels of stages on the silo of a worker; the grain's key is the worker's.</summary>
[Alias("atelier.ITrainingPanelGrain")]
internal interface ITrainingPanelGrain : IGrainWithStringKey
{
    /// <summary>Begins to draw a panel, unless it is being drawn. The stage is notified of the result.</summary>
    /// <param name="stage">The key of the stage.</param>
    /// <param name="attempt">Number of the attempt, from 0; each has pictures of its own.</param>
    /// <param name="checkpoint">The <see cref="CheckpointManifest"/>, which the stage keeps meanwhile.</param>
    [Alias("Draw")]
    Task DrawAsync(string stage, int attempt, string checkpoint);
}

/// <summary>Draws panels.</summary>
[GrainType("trainingpanel")]
[OwnSilo, Immovable, Reentrant]
internal sealed class TrainingPanelGrain(
    IPanelWork work, IGrainFactory grains, IOptions<TrainerOptions> options, TimeProvider clock,
    ILogger<TrainingPanelGrain> logger) : Grain, ITrainingPanelGrain, IDisposable
{
    // The tenant whose pictures are those of the administrator's runs.
    private static readonly TenantId s_tenant = new("training-panels");

    private readonly HashSet<(string Stage, long Step)> _running = [];
    private readonly CancellationTokenSource _deactivation = new();

    public Task DrawAsync(string stage, int attempt, string checkpoint)
    {
        CheckpointManifest manifest = TrainingJson.Read<CheckpointManifest>(checkpoint)!;
        DelayDeactivation(options.Value.PanelTimeout);
        if (_running.Add((stage, manifest.Step)))
        {
            RunAsync(stage, attempt, manifest).Ignore();
        }

        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken) =>
        _deactivation.CancelAsync();

    /// <inheritdoc/>
    public void Dispose() => _deactivation.Dispose();

    private async Task RunAsync(string key, int attempt, CheckpointManifest checkpoint)
    {
        ITrainingStageGrain stage = grains.GetGrain<ITrainingStageGrain>(key);
        using var late = new CancellationTokenSource(options.Value.PanelTimeout, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, _deactivation.Token);
        string name = string.Create(
            CultureInfo.InvariantCulture, $"{PublishedModel.PanelPrefix}{key}/{checkpoint.Step}");
        try
        {
            await DrawAsync(stage, key, name, attempt, checkpoint, either.Token);
        }
        catch (Exception error)
        {
            string reason = error is OperationCanceledException
                ? _deactivation.IsCancellationRequested
                    ? "its silo is shutting down" : $"it took longer than {options.Value.PanelTimeout}"
                : error.Message;
            logger.PanelFailed(key, checkpoint.Step, reason);
            if (!_deactivation.IsCancellationRequested)
            {
                await GrainCalls.TryAsync(() => grains.PublishedModels().WithdrawAsync(name));
            }

            await GrainCalls.TryAsync(() => stage.PanelFailedAsync(checkpoint.Step, reason));
        }
        finally
        {
            _running.Remove((key, checkpoint.Step));
        }
    }

    private async Task DrawAsync(
        ITrainingStageGrain stage, string key, string name, int attempt, CheckpointManifest checkpoint,
        CancellationToken cancellation)
    {
        (RunId run, int index) = OpenRun.Parse(key);
        ITrainingRunGrain runGrain = grains.GetGrain<ITrainingRunGrain>(run.Value);
        StageSource source = await runGrain.StageAsync(index)
            ?? throw new PanelRefusedException($"The run '{run}' has no stage {index}.");
        PanelPlan plan = work.PlanOf(source)
            ?? throw new PanelRefusedException($"{source.Name} has no panel.prompts.");
        PublishedModel model = await PublishAsync(name, run, index, source, checkpoint, cancellation);
        ModelCard card = await CardAsync(model, cancellation);
        TenantId tenant = (await runGrain.OwnerAsync()) ?? await OwnTenantAsync();
        IGenerationGrain[] pictures =
        [
            .. plan.Prompts.Select((_, i) => grains.Generation(new GenerationKey(
                tenant, new GenerationId(string.Create(
                    CultureInfo.InvariantCulture, $"panel-{model.Digest.Value[..32]}-{attempt}-{i}"))))),
        ];
        for (int i = 0; i < pictures.Length; i++)
        {
            await SubmitAsync(
                pictures[i],
                new GenerationSpec
                {
                    Model = model.Digest, Prompt = plan.Prompts[i], Seed = plan.Seed, Steps = plan.Steps,
                    Guidance = plan.Guidance, Width = card.Sizes[0].Width, Height = card.Sizes[0].Height,
                },
                cancellation);
        }

        var drawn = new List<BlobName>();
        foreach (IGenerationGrain picture in pictures)
        {
            drawn.Add(await PictureAsync(picture, cancellation));
        }

        (BlobName sheet, double? score) = await work.JoinAsync(
            plan, drawn, model, new BlobOwner(BlobOwnerType.Run, run.Value), cancellation);
        await stage.PanelDrawnAsync(
            new DrawnPanel(checkpoint.Step, sheet.Sha256, score) { DropMax = plan.DropMax });

        // What is left if this fails is removed later: the model expires, and the pictures are forgotten like others.
        await GrainCalls.TryAsync(() => Task.WhenAll(pictures.Select(picture => picture.DeleteAsync())));
        await GrainCalls.TryAsync(() => grains.PublishedModels().WithdrawAsync(name));
    }

    // A model of this name with another digest has the other networks of another silo's folders.
    private async Task<PublishedModel> PublishAsync(
        string name, RunId run, int stage, StageSource source, CheckpointManifest checkpoint,
        CancellationToken cancellation)
    {
        PublishedModel stored = await work.StoreAsync(name, run, stage, source, checkpoint, cancellation) with
        {
            ExpiresAt = clock.GetUtcNow() + options.Value.PanelTimeout,
        };
        PublishAnswer? answer = null;
        try
        {
            answer = await grains.PublishedModels().PublishAsync(stored);
            if (answer.Outcome == PublishOutcome.NameExists)
            {
                await grains.PublishedModels().WithdrawAsync(name);
                answer = await grains.PublishedModels().PublishAsync(stored);
            }
        }
        finally
        {
            // If there was no answer, the model may be listed; its files are kept then, or found by a sweep.
            if (answer is not null && answer.Model?.Owner != stored.Owner)
            {
                await work.ReleaseAsync(stored);
            }
        }

        return answer is { Outcome: PublishOutcome.Published, Model: { } model }
            ? model : throw new PanelRefusedException("The maximum number of models are published; withdraw one.");
    }

    // The model's card, once a silo has fetched the model.
    private async Task<ModelCard> CardAsync(PublishedModel model, CancellationToken cancellation)
    {
        while (true)
        {
            if (await GrainCalls.TryAsync(() => grains.Catalog().FindAsync(model.Digest.Value)) is { } card)
            {
                return card;
            }

            await Task.Delay(options.Value.PanelPeriod, clock, cancellation);
        }
    }

    private async Task<TenantId> OwnTenantAsync()
    {
        ITenantGrain tenant = grains.Tenant(s_tenant);
        TenantView view = await tenant.ViewAsync() ?? (await tenant.PutAsync(new TenantSettings())).View
            ?? throw new PanelRefusedException("The maximum number of tenants is reached.");
        return view.Id;
    }

    private async Task SubmitAsync(IGenerationGrain picture, GenerationSpec spec, CancellationToken cancellation)
    {
        while (true)
        {
            SubmitAnswer? answer = await GrainCalls.TryAsync(
                () => picture.SubmitAsync(new Submission { Spec = spec }));
            if (answer?.Outcome is SubmitOutcome.Accepted or SubmitOutcome.Exists)
            {
                return;
            }

            // Another outcome may pass: a full queue, or a limit of the tenant.
            if (answer is { RetryAfter: null, Outcome: not SubmitOutcome.UnknownModel })
            {
                throw new PanelRefusedException($"A picture is refused: {answer.Message}");
            }

            await Task.Delay(options.Value.PanelPeriod, clock, cancellation);
        }
    }

    private async Task<BlobName> PictureAsync(IGenerationGrain picture, CancellationToken cancellation)
    {
        while (true)
        {
            GenerationView? view = null;
            bool isAnswered = await GrainCalls.TryAsync(async () =>
            {
                view = await picture.ViewAsync();
            });
            if (isAnswered && view is null)
            {
                throw new PanelRefusedException("A picture was deleted.");
            }

            if (view?.Phase.IsEnded() == true)
            {
                return view.Picture
                    ?? throw new PanelRefusedException($"A picture was not drawn: {view.Message ?? $"{view.Phase}"}");
            }

            await Task.Delay(options.Value.PanelPeriod, clock, cancellation);
        }
    }
}
