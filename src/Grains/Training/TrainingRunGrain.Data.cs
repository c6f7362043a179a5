// The part of a run that says which data sets of the blob store it needs.
namespace Atelier.Grains.Training;

internal sealed partial class TrainingRunGrain
{
    public Task<bool> NamesDataAsync(string set) => Task.FromResult(
        Own.IsOpen && Own.Stages.Any(stage =>
            stage.Overrides.Append(stage.Configuration).Any(text => text.Contains(set, StringComparison.Ordinal))));
}
