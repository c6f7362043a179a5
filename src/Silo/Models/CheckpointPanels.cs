// The grains' port for panels: checkpoints as models, as they are published, and sheets of pictures.
using System.Security.Cryptography;
using Atelier.Contracts;
using Atelier.Contracts.Models;
using Atelier.Contracts.Training;
using Atelier.Grains.Ports;
using Atelier.Model;
using Atelier.Model.Data.Sources;
using Atelier.Model.Evaluation;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;
using Atelier.Model.Runtime;
using Atelier.Model.Training.Runs;
using Atelier.Model.Weights;
using Atelier.Training.Checkpoints;

namespace Atelier.Silo.Models;

/// <summary>Makes models of checkpoints, and joins and scores their pictures.</summary>
internal sealed class CheckpointPanels(IBlobStore blobs, BaseModels bases, ModelPublisher publisher) : IPanelWork
{
    private const int Columns = 8;

    /// <inheritdoc/>
    public PanelPlan? PlanOf(StageSource stage) => ConfigOf(stage).Panel is not { } panel ? null : new PanelPlan(
        panel.Prompts, panel.Seed, panel.Steps, panel.Guidance, panel.IsScored, panel.DropMax);

    /// <inheritdoc/>
    public Task<PublishedModel> StoreAsync(
        string name, RunId run, int stage, StageSource source, CheckpointManifest checkpoint,
        CancellationToken cancellation) => Task.Run(
        async () =>
        {
            try
            {
                StageConfig config = ConfigOf(source);
                ModelFolder other = bases.Find(config, StageNetworks.Of(source, config), named: null);
                if (config.Panel is { IsScored: true })
                {
                    CheckScores(other);
                }

                return await publisher.StoreAsync(
                    new Publication(name, run.Value, stage, config, checkpoint, other), cancellation);
            }
            catch (Exception error) when (error is PublishRefusedException or RefusedFileException
                or UnauthorizedAccessException)
            {
                throw new PanelRefusedException(error.Message, error);
            }
        },
        cancellation);

    /// <inheritdoc/>
    public Task ReleaseAsync(PublishedModel model) => publisher.ReleaseAsync(model);

    /// <inheritdoc/>
    public async Task<(BlobName Sheet, double? Score)> JoinAsync(
        PanelPlan plan, IReadOnlyList<BlobName> pictures, PublishedModel model, BlobOwner owner,
        CancellationToken cancellation)
    {
        var drawn = new List<RgbImage>();
        foreach (BlobName picture in pictures)
        {
            drawn.Add(ImageCodec.Decode(
                await blobs.GetAsync(picture, cancellation)
                    ?? throw new PanelRefusedException($"The picture {picture} is not in the blob store."),
                picture.Value));
        }

        byte[] bytes = await Task.Run(() => Sheet(drawn), cancellation);
        BlobName name = BlobName.OfCluster(
            BlobKind.Checkpoint, Convert.ToHexStringLower(SHA256.HashData(bytes)));
        await blobs.PutAsync(name, owner, bytes, cancellation);
        return (name, plan.IsScored ? await ScoreAsync(plan.Prompts, drawn, model, cancellation) : null);
    }

    private static StageConfig ConfigOf(StageSource stage) =>
        StageConfig.Parse(stage.Name, stage.Configuration, stage.Overrides);

    private static byte[] Sheet(IReadOnlyList<RgbImage> pictures)
    {
        RgbImage sheet = PictureSheet.Join(pictures, Columns);
        using var png = new MemoryStream();
        Png.Write(png, sheet.Pixels, sheet.Width, sheet.Height, []);
        return png.ToArray();
    }

    private static void CheckScores(ModelFolder model)
    {
        using IWeightSource source = WeightFile.Open(model.PathOf(model.TextEncoder));
        if (!source.Tensors.Keys.Any(name => name.StartsWith("visual.", StringComparison.Ordinal)))
        {
            throw new PanelRefusedException(
                $"{model.Name} cannot score pictures, because {model.TextEncoder.Name} has no image encoder. Set "
                + "panel.score to none, or train on latents of a model that has one.");
        }
    }

    // On the processor and without the device, which draws and trains meanwhile.
    private Task<double> ScoreAsync(
        IReadOnlyList<string> prompts, IReadOnlyList<RgbImage> pictures, PublishedModel model,
        CancellationToken cancellation)
    {
        ModelFolder folder = bases.Find(model.Base);
        return Task.Run(Score, cancellation);

        double Score()
        {
            Libtorch.Load();
            return PictureScores.Clip(folder, new DrawnPictures(prompts, pictures), cancellation: cancellation).Score;
        }
    }

    private sealed class DrawnPictures(IReadOnlyList<string> prompts, IReadOnlyList<RgbImage> pictures)
        : ICaptionedPictures
    {
        public long Count => pictures.Count;

        public IReadOnlyDictionary<string, string> Identify(CancellationToken cancellation) =>
            new Dictionary<string, string>();

        public string Caption(long index) => prompts[(int)index];

        public RgbImage Picture(long index, int side) => SquareCrop.Run(pictures[(int)index], side);
    }
}
