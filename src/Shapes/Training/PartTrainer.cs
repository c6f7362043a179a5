// The training loop of the parts. Another thread prepares data one batch ahead, and a checkpoint is written every
// minute.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Atelier.Model;
using Atelier.Model.Training;
using Atelier.Model.Weights;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Shapes.Training;

/// <summary>The progress of a training.</summary>
/// <param name="Step">Completed steps.</param>
/// <param name="Steps">Total steps.</param>
/// <param name="Loss">Mean loss of the steps since the last report.</param>
/// <param name="SamplesPerSecond">Speed since the last report.</param>
public readonly record struct PartProgress(long Step, long Steps, double Loss, double SamplesPerSecond);

/// <summary>
/// Trains the network of a part. Its weights are updated like those of a stage (<see cref="MasterWeights"/>), but a
/// step is one batch, the smoothing of the average ramps up, and a step whose gradient is not finite leaves the weights
/// unchanged. Not thread-safe.
/// </summary>
internal sealed class PartTrainer : IDisposable
{
    private const string StepKey = "step", UpdatesKey = "updates";
    private static readonly TimeSpan s_checkpointEvery = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_reportEvery = TimeSpan.FromSeconds(10);
    private static readonly StateNames s_names = new("weights", "average", "first_moment", "second_moment");

    private readonly MasterWeights _master;
    private readonly LearningRate _rate;
    private readonly long _steps;
    private readonly string _recipe;
    private long _step;

    /// <summary>Prepares the training of a network.</summary>
    /// <param name="network">Network with its initial weights in float32; the caller keeps ownership.</param>
    /// <param name="config">Settings of the training.</param>
    /// <param name="optimizer">Settings of the optimizer.</param>
    /// <param name="finalFraction">Learning rate at the end, as a fraction of the highest one.</param>
    public PartTrainer(nn.Module network, PartTrainingConfig config, AdamWSettings optimizer, double finalFraction = 0)
    {
        _master = new MasterWeights(network, config.Compute, new UpdateSettings
        {
            Optimizer = optimizer,
            ClipNorm = config.ClipNorm,
            Average = new AverageSettings(config.AverageSmoothing, Ramps: true),
        });
        _rate = LearningRate.Cosine(config.LearningRate, config.WarmupSteps, config.Steps, finalFraction);
        (_steps, _recipe) = (config.Steps, PartRecipe.Of(config));
    }

    /// <summary>A parameter and the upper bound of its elements; null for no bound.</summary>
    public (string Name, double Most)? Bound { get; init; }

    /// <summary>Runs the remaining steps. When cancelled, it stops at the end of a step, with a checkpoint.</summary>
    /// <param name="checkpoint">The checkpoint's file; the training resumes from it if it exists.</param>
    /// <param name="samples">Number of samples in a step.</param>
    /// <param name="prepare">Prepares a step's data, without libtorch; runs on another thread.</param>
    /// <param name="loss">Computes a step's loss and its gradients.</param>
    /// <param name="report">Called after the first step and at intervals.</param>
    /// <param name="cancellation">Stops the training.</param>
    /// <exception cref="OperationCanceledException">
    /// The training was cancelled; the checkpoint holds all completed steps.
    /// </exception>
    /// <exception cref="RefusedFileException">The checkpoint is damaged or of another training.</exception>
    public void Run<T>(
        string checkpoint, int samples, Func<long, T> prepare, Func<long, T, double> loss, Action<PartProgress>? report,
        CancellationToken cancellation)
    {
        Restore(checkpoint);
        using var ahead = new Ahead<T>(_step, _steps, prepare);
        var sinceCheckpoint = Stopwatch.StartNew();
        var sinceReport = Stopwatch.StartNew();
        (double sum, int count) = (0, 0);
        bool isFirst = true;
        while (_step < _steps && !cancellation.IsCancellationRequested)
        {
            sum += Train(ahead.Next(), loss);
            count++;
            bool isLast = _step == _steps;
            if (sinceReport.Elapsed >= s_reportEvery || isFirst || isLast)
            {
                isFirst = false;
                double speed = count * samples / sinceReport.Elapsed.TotalSeconds;
                report?.Invoke(new PartProgress(_step, _steps, sum / count, speed));
                (sum, count) = (0, 0);
                sinceReport.Restart();
            }

            if (sinceCheckpoint.Elapsed >= s_checkpointEvery || isLast || cancellation.IsCancellationRequested)
            {
                Save(checkpoint);
                sinceCheckpoint.Restart();
            }
        }

        cancellation.ThrowIfCancellationRequested();
    }

    /// <summary>Copies the averaged weights, which are the result, into a network of the same shape.</summary>
    public void CopyResultTo(nn.Module network) => _master.CopyAverageTo(network);

    /// <inheritdoc/>
    public void Dispose() => _master.Dispose();

    private double Train<T>(T data, Func<long, T, double> loss)
    {
        using var scope = NewDisposeScope();
        using (no_grad())
        {
            _master.Computing.Gradients.zero_();
        }

        double mean = loss(_step, data);
        using (no_grad())
        {
            Tensor gradient = _master.Computing.Gradients.to(ScalarType.Float32);
            double norm = linalg.norm(gradient).item<float>();
            if (double.IsFinite(norm))
            {
                _master.Update(_step, gradient, samples: 1, norm, _rate.At(_step));
            }
        }

        if (Bound is var (name, most))
        {
            _master.Bound(name, most);
        }

        _step++;
        return mean;
    }

    private void Save(string path) => _master.Save(path, s_names, new Dictionary<string, string>(StringComparer.Ordinal)
    {
        [StepKey] = _step.ToString(CultureInfo.InvariantCulture),
        [UpdatesKey] = _master.Optimizer.Updates.ToString(CultureInfo.InvariantCulture),
        [PartRecipe.Key] = _recipe,
    });

    private void Restore(string path)
    {
        if (!File.Exists(path))
        {
            return;
        }

        using SafeTensorsFile file = SafeTensorsFile.Open(path);
        PartRecipe.Check(path, file.Metadata.GetValueOrDefault(PartRecipe.Key), _recipe);
        if (Number(StepKey) is not { } step || Number(UpdatesKey) is not { } updates)
        {
            throw new RefusedFileException(path, "metadata", $"'{StepKey}' and '{UpdatesKey}' must be numbers.");
        }

        _master.Restore(path, file, s_names, updates);
        _step = step;

        long? Number(string key) =>
            long.TryParse(file.Metadata.GetValueOrDefault(key), CultureInfo.InvariantCulture, out long number)
                ? number : null;
    }

    // Prepares one item while the previous one is in use.
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
            return error is null
                ? item! : throw new InvalidOperationException($"A batch could not be prepared: {error.Message}", error);
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
                // The loop has already ended.
            }
            catch (Exception error) when (error is not OutOfMemoryException)
            {
                _ready.TryAdd((default, error));
            }
        }
    }
}
