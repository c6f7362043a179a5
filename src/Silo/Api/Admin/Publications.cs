// Publications in progress on this silo. One takes as long as its files are large, so it continues when the request
// that began it is over, and a repeated request joins it.
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Grains;
using Atelier.Grains.Blobs;
using Atelier.Model.Data;
using Atelier.Model.Training.Runs;
using Atelier.Silo.Api.Http;
using Atelier.Silo.Models;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Api.Admin;

/// <summary>What is to be published.</summary>
/// <param name="Name">Name of the model.</param>
/// <param name="Run">The run.</param>
/// <param name="Stage">Index of the stage.</param>
/// <param name="Step">Number of steps that the checkpoint includes.</param>
/// <param name="Base">The model with the other networks; null to find it.</param>
internal sealed record PublicationKey(string Name, string Run, int Stage, long Step, ModelDigest? Base);

/// <summary>Publishes checkpoints.</summary>
internal sealed class Publications(
    IGrainFactory grains, GrainCaller calls, BaseModels bases, ModelPublisher publisher,
    IHostApplicationLifetime lifetime)
{
    /// <summary>
    /// Maximum duration of a publication. Its blobs have no entry yet, so a sweep must not find them old.
    /// </summary>
    public static readonly TimeSpan TimeMax = BlobSweep.GraceMin / 2;

    // A gateway ends a request after a minute without a byte.
    private static readonly TimeSpan s_answerWithin = TimeSpan.FromSeconds(20);

    private readonly Lock _lock = new();
    private readonly Dictionary<PublicationKey, Task<PublishAnswer>> _running = [];

    /// <summary>Publishes a checkpoint, or joins its publication; null if that is still in progress.</summary>
    /// <param name="key">What is published.</param>
    /// <param name="config">The stage.</param>
    /// <param name="networks">The networks that made the stage's latents; null if they are not known.</param>
    /// <param name="checkpoint">The checkpoint, which is kept for <see cref="TimeMax"/>.</param>
    /// <exception cref="PublishRefusedException">The checkpoint cannot be published.</exception>
    /// <exception cref="IOException">The disk or the blob store failed; nothing is published.</exception>
    /// <exception cref="ApiException">The cluster did not answer.</exception>
    public async Task<PublishAnswer?> PublishAsync(
        PublicationKey key, StageConfig config, NetworkDigests? networks, CheckpointManifest checkpoint)
    {
        Task<PublishAnswer> running = BeginAsync(key, config, networks, checkpoint);
        try
        {
            return await running.WaitAsync(s_answerWithin);
        }
        catch (TimeoutException) when (!running.IsCompleted)
        {
            return null;
        }
        finally
        {
            lock (_lock)
            {
                if (running.IsCompleted && _running.GetValueOrDefault(key) == running)
                {
                    _running.Remove(key);
                }
            }
        }
    }

    private Task<PublishAnswer> BeginAsync(
        PublicationKey key, StageConfig config, NetworkDigests? networks, CheckpointManifest checkpoint)
    {
        lock (_lock)
        {
            // A failure that nobody has asked for is forgotten; the next request for it tries again.
            foreach (PublicationKey done in _running.Where(one => one.Key != key && one.Value.IsCompleted)
                .Select(one => one.Key).ToArray())
            {
                _running.Remove(done);
            }

            if (!_running.TryGetValue(key, out Task<PublishAnswer>? running))
            {
                running = Task.Run(() => RunAsync(key, config, networks, checkpoint));
                _running.Add(key, running);
            }

            return running;
        }
    }

    private async Task<PublishAnswer> RunAsync(
        PublicationKey key, StageConfig config, NetworkDigests? networks, CheckpointManifest checkpoint)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(lifetime.ApplicationStopping);
        late.CancelAfter(TimeMax);
        var publication = new Publication(
            key.Name, key.Run, key.Stage, config, checkpoint, bases.Find(config, networks, key.Base));
        PublishedModel model;
        try
        {
            model = await publisher.StoreAsync(publication, late.Token);
        }
        catch (OperationCanceledException error)
        {
            throw new IOException(
                lifetime.ApplicationStopping.IsCancellationRequested
                    ? "the server is shutting down" : $"it took longer than {TimeMax.TotalMinutes} minutes",
                error);
        }

        // If this call is not answered, the entry may be stored; the blobs are kept then, or found by a sweep.
        PublishAnswer answer = await calls.CallAsync(() => grains.PublishedModels().PublishAsync(model));
        if (answer.Model?.Owner != model.Owner)
        {
            await publisher.ReleaseAsync(model);
        }

        return answer;
    }
}
