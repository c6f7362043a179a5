// The loop of one stage in one process. It drives the same engine as a cluster would: compute the shards, measure the
// total, decide, apply.
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>What a step of a run did.</summary>
/// <param name="Step">Number of the batch, from 0.</param>
/// <param name="Loss">Mean loss of its samples; NaN where it has none.</param>
/// <param name="GradientNorm">2-norm of the mean gradient; NaN where the batch has no samples.</param>
/// <param name="LearningRate">Learning rate.</param>
/// <param name="Verdict">Whether it was applied.</param>
/// <param name="Seconds">Time it took.</param>
/// <param name="LeftOut">Samples of the batch that could not be trained on.</param>
public readonly record struct StepResult(
    long Step, double Loss, double GradientNorm, double LearningRate, StepVerdict Verdict, double Seconds,
    int LeftOut = 0);

/// <summary>A stage that trains, stops and goes on. Not for use by two threads at once.</summary>
public sealed class TrainingRun : IDisposable
{
    /// <summary>Name of the file with a line a step.</summary>
    public const string MetricsFile = "metrics.jsonl";

    /// <summary>Name of the file with the stage's result.</summary>
    public const string ResultFile = "final.safetensors";

    /// <summary>
    /// Part of a stage's batches that must be in the weights at its end, and of its samples that must not be left out;
    /// below it the stage has failed and has no result.
    /// </summary>
    public const double PartAppliedMin = 0.5;

    // Samples left out that a person is told of as the run meets them; the report lists more.
    private const int ToldMax = 20;

    // Each lane beyond the first has gradients of its own; a network for which they are large fills all threads by itself.
    private const long LaneBytes = 256L << 20;

    private readonly StageConfig _config;
    private readonly ITrainingData _data;
    private readonly MicroDiT _network;
    private readonly TrainingEngine _engine;
    private readonly CheckpointStore _store;
    private readonly Action<string> _tell;
    private readonly List<SkippedSlice> _ledger;
    private PolicyMemory _memory;
    private long _lastPlanned;

    /// <summary>Starts a stage, or takes it up where its last checkpoint left it.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="data">Its samples; they stay the caller's.</param>
    /// <param name="tell">Told what a person should know.</param>
    public TrainingRun(StageConfig config, ITrainingData data, Action<string> tell)
    {
        (_config, _data, _tell) = (config, data, tell);
        _network = new MicroDiT(config.Network);
        MicroDiTInitializer.Initialize(_network, config.Seed);
        _store = new CheckpointStore(config.Folder, config.CheckpointsKept, Identity(config, data), config.Compute);
        if (config.Start.Path is { } start && !_store.HasAny)
        {
            LoadStart(_network, start, config.Start.Average);
        }

        var source = new SeededShards(data, config.StepSettings, config.Network, config.Seed, config.CaptionDrop);
        _engine = new TrainingEngine(_network, config.StepSettings, source, config.Compute, Lanes(_network));
        RunPosition position = _store.Load(_engine, tell) ?? new RunPosition(0, 0, default, []);
        (StepsDone, _memory, _ledger) = (position.Step, position.Memory, [.. position.Ledger]);
        LeftOut = position.LeftOut ?? LeftOutSamples.None;
        _lastPlanned = _store.LastPlanned;
    }

    private string Result => Path.Combine(_config.Folder, ResultFile);

    /// <summary>Batches behind the run.</summary>
    public long StepsDone { get; private set; }

    /// <summary>Whether the stage is complete.</summary>
    public bool IsComplete => StepsDone >= _config.Steps && File.Exists(Result);

    /// <summary>Slices that were not trained on.</summary>
    public IReadOnlyList<SkippedSlice> Ledger => _ledger;

    /// <summary>Samples that were left out of batches, as far as the run is.</summary>
    public LeftOutSamples LeftOut { get; private set; }

    /// <summary>Batches that are in the weights.</summary>
    public long Applied => StepsDone - _ledger.Count;

    /// <summary>Batches that were applied until the run went back to weights from before them.</summary>
    public int Undone => _ledger.Count(slice => slice.Because == SkippedBecause.Undone);

    /// <summary>Batches that were never applied.</summary>
    public int Skipped => _ledger.Count - Undone;

    /// <summary>The network, with the weights as they are now. For looking at, between steps.</summary>
    public MicroDiT Network => _network;

    /// <summary>The engine that holds weights and moments.</summary>
    public TrainingEngine Engine => _engine;

    /// <summary>
    /// Trains until the stage is complete or cancelled; either way a checkpoint is left, and when complete the result.
    /// </summary>
    /// <param name="progress">
    /// Called after every step and before its checkpoint, if it has one: a run that is killed in between reports the
    /// step again, and never skips one.
    /// </param>
    /// <param name="cancellation">Ends the run at the end of the step in flight.</param>
    /// <param name="look">
    /// Called after every step, once its checkpoint is written, if it has one; the network may be looked at for long.
    /// </param>
    /// <exception cref="TrainingDivergedException">Loss or gradients keep growing.</exception>
    /// <exception cref="TrainingFailedException">
    /// Batches without a sample that can be trained on follow each other, or less than <see cref="PartAppliedMin"/> of
    /// the stage was trained on: it has no result, and ends so again where it is run again.
    /// </exception>
    public void Run(
        Action<StepResult> progress, CancellationToken cancellation, Action<StepResult>? look = null)
    {
        Directory.CreateDirectory(_config.Folder);
        CutMetrics();
        if (StepsDone < _config.Steps)
        {
            // Of an end that is none any more.
            File.Delete(Result);
            File.Delete(LastOf(Result));
        }

        using var metrics =
            new StreamWriter(Path.Combine(_config.Folder, MetricsFile), append: true) { AutoFlush = true };
        while (StepsDone < _config.Steps && !cancellation.IsCancellationRequested)
        {
            StepResult report = RunStep();
            metrics.WriteLine(JsonSerializer.Serialize(report, MetricsFormat.Options));
            progress(report);
            if (IsPlannedHere(report.Verdict))
            {
                Save(isPlanned: true);
            }

            look?.Invoke(report);
        }

        if (StepsDone != _lastPlanned)
        {
            Save(isPlanned: false);
        }

        if (StepsDone >= _config.Steps)
        {
            RefuseNothing();
            SaveResult();
        }
    }

    /// <summary>SHA-256 of the master weights: equal for runs that trained alike.</summary>
    public string WeightsDigest()
    {
        using Tensor local = _engine.Weights.detach().cpu();
        return Convert.ToHexStringLower(SHA256.HashData(local.bytes));
    }

    /// <summary>Puts the averaged weights into the network for as long as the result lives, if there are any.</summary>
    public IDisposable WithAverage() => new AverageInPlace(_engine);

    /// <inheritdoc/>
    public void Dispose()
    {
        _engine.Dispose();
        _network.Dispose();
    }

    private StepResult RunStep()
    {
        long start = Stopwatch.GetTimestamp(), step = StepsDone;
        GradientSum total = _engine.ComputeBatch(step);
        Note(step, total.LeftOut);
        (double loss, double norm) = TrainingEngine.Measure(total);

        // A batch without samples says nothing of the weights.
        (StepVerdict verdict, _memory) = total.Samples == 0
            ? (StepVerdict.Skip, _memory) : _config.Policy.Decide(loss, norm, _memory);
        double rate = _config.StepSettings.LearningRate.At(step);
        switch (verdict)
        {
            case StepVerdict.Apply:
                _engine.Apply(step, total);
                break;
            case StepVerdict.Skip:
                total.Dispose();
                SkippedSlice slice = SliceOf(step, total, loss, norm);
                _ledger.Add(slice);
                _tell(Invariant($"step {step} is skipped: {slice.Reason}"));
                RefuseEmptyRow(step);
                break;
            default:
                total.Dispose();
                GoBack(SliceOf(step, total, loss, norm));
                break;
        }

        StepsDone = step + 1;
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return new StepResult(step, loss, norm, rate, verdict, seconds, total.LeftOut.Count);
    }

    private void Note(long step, IReadOnlyList<BadSample> samples)
    {
        int known = LeftOut.Samples.Count;
        (LeftOut, IReadOnlyList<LeftOutSample> added) = LeftOut.With(step, samples, _data.Place);
        foreach (LeftOutSample sample in added.Take(Math.Max(0, ToldMax - known)))
        {
            _tell($"{sample.Place}: {sample.Column} holds {sample.Value}; the sample is left out of every batch");
        }

        if (known <= ToldMax && LeftOut.Samples.Count > ToldMax)
        {
            _tell($"more than {ToldMax} samples are left out; the others stand in the report");
        }
    }

    // What one sample alone brings about, the data is to blame for, and not the training.
    private SkippedSlice SliceOf(long step, GradientSum total, double loss, double norm)
    {
        if (total.Samples == 0)
        {
            return new SkippedSlice(
                step, $"none of its {total.LeftOut.Count} samples can be trained on", SkippedBecause.NoSample);
        }

        string reason = Invariant($"loss {loss:g4}, gradient norm {norm:g4}");
        bool isFew = total.NotFinite > 0
            ? 2 * total.NotFinite < total.Samples : double.IsFinite(loss) && total.Samples > 2;
        bool isOne = isFew && total.Largest is { } largest
            && (!float.IsFinite(largest.Loss) || largest.Loss > total.Loss / 2);
        return isOne
            ? new SkippedSlice(
                step,
                $"{reason}; {_data.Place(total.Largest!.Sample)} alone has a loss of {Finite.Name(total.Largest.Loss)}",
                SkippedBecause.OneSample)
            : new SkippedSlice(step, reason);
    }

    // As many batches in a row as the policy bears of other bad ones.
    private void RefuseEmptyRow(long step)
    {
        int row = 0;
        while (row < _ledger.Count && _ledger[^(row + 1)] is { Because: SkippedBecause.NoSample } slice
            && slice.Step == step - row)
        {
            row++;
        }

        if (row > _config.Policy.Patience)
        {
            throw new TrainingFailedException(
                $"{_config.Name}: the last {row} batches, to step {step}, hold no sample that can be trained on. "
                + BadData);
        }
    }

    private void RefuseNothing()
    {
        string bad = LeftOut.Times == 0 ? "" : $" {BadData}";
        if (Applied < PartAppliedMin * StepsDone)
        {
            throw new TrainingFailedException(
                $"{_config.Name}: only {Applied} of {StepsDone} batches are in the weights, {Skipped} were skipped and "
                + $"{Undone} undone; a stage needs half of them, and has no result without. {TrainingReport.FileName} "
                + $"says why each is missing.{bad} {Again}");
        }

        if (LeftOut.Times > (1 - PartAppliedMin) * StepsDone * _config.StepSettings.GlobalBatch)
        {
            throw new TrainingFailedException(
                $"{_config.Name}: {LeftOut.Times} of {StepsDone * _config.StepSettings.GlobalBatch} samples were left out; a stage "
                + $"needs half of them, and has no result without.{bad} {Again}");
        }
    }

    private const string Again = "Then train it in another folder, since this one is at its end.";

    private string BadData => LeftOut.Samples is [var first, ..]
        ? $"{first.Place}: {first.Column} holds {first.Value}, as the first of them; make these latents anew."
        : "";

    // Where single samples are to blame, or no update was ever made, the learning rate is not.
    private string Advice(SkippedSlice now)
    {
        SkippedSlice[] row =
        [
            .. _ledger.Where(slice => slice.Because != SkippedBecause.NoSample).TakeLast(_memory.SkippedInARow - 1),
            now,
        ];
        return row.Count(slice => slice.Because == SkippedBecause.OneSample) > row.Length / 2
            ? $"single samples are to blame, the last one thus: {now.Reason}. Look at them in the data."
            : _memory.Applied == 0
                ? "no update was made so far, so the weights that it starts from, or model.dtype, give no finite loss."
                : "a lower learning rate or a longer warm-up would be right.";
    }

    // The weights return to the last checkpoint; the slices since then are not trained on again, but stand in the
    // ledger.
    private void GoBack(SkippedSlice now)
    {
        (long step, string advice) = (now.Step, Advice(now));
        if (_memory.Returns >= _config.Policy.ReturnsMax)
        {
            throw new TrainingDivergedException(
                $"{_config.Name} has gone back {_memory.Returns} times and diverges again at step {step}: {advice}");
        }

        int returns = _memory.Returns + 1;
        RunPosition last = _store.Load(_engine, _tell, plannedOnly: true)
            ?? throw new TrainingDivergedException(
                $"{_config.Name} diverged at step {step}, before its first checkpoint: {advice}");
        string went = $"the run went back to step {last.Step}";
        var skipped = _ledger.Where(slice => slice.Step >= last.Step).ToDictionary(slice => slice.Step);
        skipped.Add(step, now with { Reason = $"{now.Reason}; {went}" });
        _ledger.RemoveAll(slice => slice.Step >= last.Step);
        for (long lost = last.Step; lost <= step; lost++)
        {
            _ledger.Add(skipped.GetValueOrDefault(lost) ?? new SkippedSlice(lost, went, SkippedBecause.Undone));
        }

        _memory = last.Memory with { Returns = returns };
        _tell(
            $"step {step}: the run went back to the weights of step {last.Step}, and skips the "
            + $"{step + 1 - last.Step} batches since");
    }

    // At every interval's end, but not among steps that are skipped: what they lead back to must lie before them.
    private bool IsPlannedHere(StepVerdict verdict) => verdict == StepVerdict.GoBack
        || (verdict == StepVerdict.Apply && StepsDone / _config.SaveInterval > _lastPlanned / _config.SaveInterval);

    private void Save(bool isPlanned)
    {
        LeftOutSamples? leftOut = LeftOut.Times == 0 ? null : LeftOut;
        _store.Save(_engine, new RunPosition(StepsDone, _engine.Optimizer.Updates, _memory, _ledger, leftOut), isPlanned);
        _lastPlanned = isPlanned ? StepsDone : _lastPlanned;
    }

    // Averaged weights are the result where there are some; the last ones are kept beside them.
    private void SaveResult()
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["stage"] = _config.Name,
            ["steps"] = StepsDone.ToString(CultureInfo.InvariantCulture),
        };
        // The one by which the stage counts as complete comes last.
        (string File, Tensor Flat)[] results =
            [(LastOf(Result), _engine.Weights), (Result, _engine.Ema ?? _engine.Weights)];
        foreach ((string file, Tensor flat) in results)
        {
            (string Name, Tensor View)[] views = [.. _engine.Named(flat)];
            using var writer = new SafeTensorsWriter(
                file, views.Select(v => new TensorInfo(v.Name, ElementType.Float32, v.View.shape)), metadata);
            foreach (TensorInfo info in writer.Order)
            {
                using Tensor local = views.First(v => v.Name == info.Name).View.detach().cpu().contiguous();
                writer.Append(info.Name, local.bytes);
            }

            writer.Commit();
            foreach ((_, Tensor view) in views)
            {
                view.Dispose();
            }
        }
    }

    // Steps after the checkpoint are made again, and written again.
    private void CutMetrics()
    {
        string path = Path.Combine(_config.Folder, MetricsFile);
        if (!File.Exists(path))
        {
            return;
        }

        string[] kept = [.. File.ReadLines(path).Where(line => TryStep(line, out long step) && step < StepsDone)];
        File.WriteAllLines(path + ".part", kept);
        File.Move(path + ".part", path, overwrite: true);
    }

    private static bool TryStep(string line, out long step)
    {
        step = 0;
        try
        {
            step = JsonSerializer.Deserialize<StepResult>(line, MetricsFormat.Options).Step;
            return true;
        }
        catch (JsonException)
        {
            return false; // The line a killed process was writing.
        }
    }

    // Weights alone: the position table is this stage's own, and the optimizer starts anew.
    private static void LoadStart(MicroDiT network, string path, bool average)
    {
        string file = path;
        if (Directory.Exists(path))
        {
            file = Path.Combine(path, ResultFile);
            file = average || !File.Exists(LastOf(file)) ? file : LastOf(file);
        }

        if (!File.Exists(file))
        {
            throw new RefusedFileException(
                file, "file", "is not there: the stage that this one starts from has not ended.");
        }

        using IWeightSource source = WeightFile.Open(file).FindModel("dit");
        StrictLoader.Load(network, source, ignore: ["pos_embed", "mask_token"], checkFinite: true);
    }

    private static int Lanes(MicroDiT network) =>
        (int)Math.Clamp(LaneBytes / (sizeof(float) * network.parameters().Sum(p => p.numel())), 1, get_num_threads());

    private static string LastOf(string result) => Path.ChangeExtension(result, ".last.safetensors");

    private static string Identity(StageConfig config, ITrainingData data)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            config.Network.WriteJson(writer);
        }

        string text = $"{Encoding.UTF8.GetString(stream.ToArray())} {config.Seed} {config.StepSettings.GlobalBatch} "
            + $"{config.Compute} {data.Count} {config.Name} {config.LatentColumn} {config.StepSettings.MaskRatio:r}";
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private sealed class AverageInPlace : IDisposable
    {
        private readonly TrainingEngine _engine;
        private readonly Tensor? _kept;

        public AverageInPlace(TrainingEngine engine)
        {
            _engine = engine;
            if (engine.Ema is not null)
            {
                using var noGradients = no_grad();
                _kept = engine.Weights.detach().clone().DetachFromDisposeScope();
                engine.Weights.copy_(engine.Ema);
                engine.Refresh();
            }
        }

        public void Dispose()
        {
            if (_kept is not null)
            {
                using var noGradients = no_grad();
                _engine.Weights.copy_(_kept);
                _engine.Refresh();
                _kept.Dispose();
            }
        }
    }
}

internal static class MetricsFormat
{
    public static JsonSerializerOptions Options { get; } = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };
}
