// The loop of the small trainings: data one batch ahead on a thread of its own, a checkpoint every minute.
using System.Collections.Concurrent;
using System.Diagnostics;

namespace Atelier.Shapes.Training;

/// <summary>How far a training is.</summary>
/// <param name="Step">Steps made.</param>
/// <param name="Steps">Steps in all.</param>
/// <param name="Loss">Mean loss of the steps since the last report.</param>
/// <param name="SamplesPerSecond">Speed since the last report.</param>
public readonly record struct PartProgress(long Step, long Steps, double Loss, double SamplesPerSecond);

/// <summary>Runs steps until all are made.</summary>
internal static class TrainingLoop
{
    private static readonly TimeSpan s_checkpointEvery = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_reportEvery = TimeSpan.FromSeconds(10);

    /// <summary>Makes the steps that are missing. Ends at a step's end, with a checkpoint, when it is cancelled.</summary>
    /// <param name="network">What is trained; goes on from the checkpoint, if there is one.</param>
    /// <param name="checkpoint">The checkpoint's file.</param>
    /// <param name="steps">Steps in all.</param>
    /// <param name="samples">Samples of a step.</param>
    /// <param name="prepare">Makes a step's data, without libtorch; runs on another thread.</param>
    /// <param name="train">Computes a step's gradients and updates the network; returns the loss.</param>
    /// <param name="report">Hears of the first step, and then of the progress now and then.</param>
    /// <param name="cancellation">Ends the training early.</param>
    /// <exception cref="OperationCanceledException">It was cancelled; the checkpoint holds all steps made.</exception>
    public static void Run<T>(
        NetworkInTraining network, string checkpoint, long steps, int samples, Func<long, T> prepare, Func<long, T, double> train,
        Action<PartProgress>? report, CancellationToken cancellation)
    {
        network.Restore(checkpoint);
        using var ahead = new Ahead<T>(network.Step, steps, prepare);
        var sinceCheckpoint = Stopwatch.StartNew();
        var sinceReport = Stopwatch.StartNew();
        (double loss, int count) = (0, 0);
        bool isFirst = true;
        while (network.Step < steps && !cancellation.IsCancellationRequested)
        {
            loss += train(network.Step, ahead.Next());
            count++;
            bool isLast = network.Step == steps;
            if (sinceReport.Elapsed >= s_reportEvery || isFirst || isLast)
            {
                isFirst = false;
                report?.Invoke(new PartProgress(network.Step, steps, loss / count, count * samples / sinceReport.Elapsed.TotalSeconds));
                (loss, count) = (0, 0);
                sinceReport.Restart();
            }

            if (sinceCheckpoint.Elapsed >= s_checkpointEvery || isLast || cancellation.IsCancellationRequested)
            {
                network.Save(checkpoint);
                sinceCheckpoint.Restart();
            }
        }

        cancellation.ThrowIfCancellationRequested();
    }

    // Prepares one item while the one before is in use.
    private sealed class Ahead<T> : IDisposable
    {
        private readonly BlockingCollection<(T? Item, Exception? Error)> _ready = new(1);
        private readonly CancellationTokenSource _end = new();
        private readonly Thread _thread;

        public Ahead(long first, long end, Func<long, T> prepare)
        {
            _thread = new Thread(() => Work(first, end, prepare)) { IsBackground = true, Name = "rendering" };
            _thread.Start();
        }

        public T Next()
        {
            (T? item, Exception? error) = _ready.Take();
            return error is null ? item! : throw new InvalidOperationException($"A batch could not be made: {error.Message}", error);
        }

        public void Dispose()
        {
            _end.Cancel();
            _thread.Join();
            _end.Dispose();
            _ready.Dispose();
        }

        private void Work(long first, long end, Func<long, T> prepare)
        {
            try
            {
                for (long step = first; step < end; step++)
                {
                    _ready.Add((prepare(step), null), _end.Token);
                }
            }
            catch (OperationCanceledException) when (_end.IsCancellationRequested)
            {
                // The loop has ended.
            }
            catch (Exception error) when (error is not OutOfMemoryException)
            {
                _ready.TryAdd((default, error));
            }
        }
    }
}
