// What the manager of a stage answers about its checkpoints to those that read them.
using Atelier.Training.Checkpoints;

namespace Atelier.Grains.Training;

internal sealed partial class TrainingStageGrain
{
    public Task<string?> PinLastJsonAsync(TimeSpan time) => PinAsync(_record?.Checkpoints.LastOrDefault(), time);

    public Task<string?> PinJsonAsync(long step, TimeSpan time) =>
        PinAsync(_record?.Checkpoints.LastOrDefault(checkpoint => checkpoint.Step == step), time);

    public Task<bool> IsUndoneAsync(long step) =>
        Task.FromResult(_record?.Undone.Any(undone => undone.Has(step)) == true);

    private async Task<string?> PinAsync(CheckpointManifest? checkpoint, TimeSpan time)
    {
        if (checkpoint is null)
        {
            return null;
        }

        DateTimeOffset now = clock.GetUtcNow();
        await StoreAsync(_record! with
        {
            Pins = _record.Pins.RemoveRange(_record.Pins.Where(pin => pin.Value <= now).Select(pin => pin.Key))
                .SetItem(checkpoint.Step, now + time),
        });
        return TextOf(checkpoint);
    }
}
