// The networks that made the latents of a stage.
using Atelier.Contracts.Training;
using Atelier.Model.Data;
using Atelier.Model.Training.Runs;

namespace Atelier.Silo.Models;

/// <summary>Finds the networks that made a stage's latents.</summary>
internal static class StageNetworks
{
    /// <summary>
    /// The networks as recorded at the submission, or else beside the data; null if neither has them.
    /// </summary>
    public static NetworkDigests? Of(StageSource source, StageConfig config) => source.Networks is { } made
        ? new NetworkDigests(made.Autoencoder, made.TextEncoder, made.Vocabulary, made.Precision)
        : NetworkDigests.Read(config.DataFolders);
}
