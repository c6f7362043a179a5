// Training behind the grains' port. An engine's tensors stay on the device's lane; callers pass and receive bytes and
// numbers.
using Atelier.Grains.Ports;
using Atelier.Model.Training;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Silo.Devices;

/// <summary>A training engine on a device's lane.</summary>
/// <param name="engine">The engine; it stays the caller's.</param>
/// <param name="lane">The lane.</param>
/// <param name="limit">Time limit of a shard, and of applying a batch.</param>
public sealed class TorchTrainingWork(TrainingEngine engine, DeviceLane lane, TimeSpan limit) : ITrainingWork
{
    /// <inheritdoc/>
    public async Task<ITrainingLoan> BorrowAsync(CancellationToken cancellation) =>
        new Loan(engine, await lane.AcquireAsync("training", cancellation), limit);

    private sealed class Loan(TrainingEngine engine, DeviceLoan loan, TimeSpan limit) : ITrainingLoan
    {
        public bool IsWanted => loan.IsWanted;

        public Task<ShardSum> ComputeShardAsync(long step, int shard) =>
            loan.RunAsync($"Shard {shard} of batch {step}", limit, () =>
            {
                using var scope = NewDisposeScope();
                using GradientSum sum = engine.ComputeShard(step, shard);
                return new ShardSum(sum.Gradient.cpu().contiguous().bytes.ToArray(), sum.Loss, sum.Samples)
                {
                    LeftOut = sum.LeftOut, Largest = sum.Largest, NotFinite = sum.NotFinite,
                };
            });

        public Task<BatchOutcome> MeasureAsync(ShardSum total) => loan.RunAsync("Measuring a batch", limit, () =>
        {
            using GradientSum sum = SumOf(total);
            return sum.Measure();
        });

        public Task ApplyAsync(long step, ShardSum total, BatchOutcome batch) =>
            loan.RunAsync($"Applying batch {step}", limit, () =>
            {
                using GradientSum sum = SumOf(total);
                return engine.Apply(step, sum, batch);
            });

        public void Dispose() => loan.Dispose();

        private GradientSum SumOf(ShardSum total)
        {
            Tensor weights = engine.Master.Weights;
            if (total.Gradient.Length != weights.numel() * sizeof(float))
            {
                throw new ArgumentException(
                    $"The gradient has {total.Gradient.Length} bytes; the run has {weights.numel()} weights.",
                    nameof(total));
            }

            using var scope = NewDisposeScope();
            Tensor gradient = empty(weights.shape);
            total.Gradient.CopyTo(gradient.bytes);
            return new GradientSum(
                gradient.to(weights.device).DetachFromDisposeScope(), total.LossSum, total.Samples)
            {
                LeftOut = total.LeftOut, Largest = total.Largest, NotFinite = total.NotFinite,
            };
        }
    }
}
