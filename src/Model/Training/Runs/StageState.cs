// A stage as one replica holds it: network, optimizer, position and checkpoints. It knows neither who computes
// gradients nor when.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Atelier.Model.Networks;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// The state of a stage that trains, stops and resumes. States that are given the same batches are equal bit for bit.
/// Not for use by two threads at once.
/// </summary>
public sealed class StageState : IDisposable
{
    // Each shard that is computed beside the first has gradients of its own; a network for which they are large fills
    // all threads by itself.
    private const long GradientBytesMax = 256L << 20;

    private readonly StageRules _rules;
    private readonly ITrainingData _data;
    private readonly CheckpointStore _store;
    private readonly Action<string> _tell;
    private long _lastPlanned;

    /// <summary>Starts a stage, or restores its newest checkpoint.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="data">Its samples; they stay the caller's.</param>
    /// <param name="tell">Told what a person should know.</param>
    /// <param name="lane">Where it computes; null for this process's own threads.</param>
    /// <exception cref="RefusedFileException">
    /// Checkpoints are of another run, or the weights to start from are refused.
    /// </exception>
    public StageState(StageConfig config, ITrainingData data, Action<string> tell, IComputeLane? lane = null)
    {
        (Config, _rules, _data, _tell) = (config, config.Rules, data, tell);
        Network = new MicroDiT(config.Network);
        MicroDiTInitializer.Initialize(Network, config.Seed);
        _store = new CheckpointStore(config.Folder, config.CheckpointsKept, Identity(config, data), config.Compute);
        if (config.Start.Path is not null && !_store.HasAny)
        {
            StageResult.Load(Network, config.Start);
        }

        var source = new SeededShards(data, config.StepSettings, config.Network, config.Seed, config.CaptionDrop);
        Engine = new TrainingEngine(
            Network, config.StepSettings, source, config.Compute, Parallel(Network), lane);
        Position = _store.Load(Engine.Master, tell) ?? RunPosition.Start;
        _lastPlanned = _store.LastPlanned;
    }

    /// <summary>The stage.</summary>
    public StageConfig Config { get; }

    /// <summary>Where the run is.</summary>
    public RunPosition Position { get; private set; }

    /// <summary>Samples that were left out of batches so far.</summary>
    public LeftOutSamples LeftOut => Position.LeftOut ?? LeftOutSamples.None;

    /// <summary>Whether all batches are made.</summary>
    public bool IsAtItsEnd => Position.Step >= Config.Steps;

    /// <summary>Whether the stage has its result.</summary>
    public bool IsComplete => IsAtItsEnd && File.Exists(StageResult.PathIn(Config.Folder));

    /// <summary>The network, with the weights as they are now. For looking at, between steps.</summary>
    public MicroDiT Network { get; }

    /// <summary>The engine that holds weights and moments.</summary>
    public TrainingEngine Engine { get; }

    /// <summary>Does with the batch that the run is at what the rules say, and consumes its total.</summary>
    /// <param name="total">Sums of all its shards.</param>
    /// <param name="batch">The total in numbers.</param>
    /// <exception cref="TrainingFailedException">The run cannot continue.</exception>
    public StepVerdict Take(GradientSum total, BatchOutcome batch)
    {
        StepDecision decision = _rules.Decide(Position, batch, _data.Place);
        foreach (string remark in decision.Remarks)
        {
            _tell(remark);
        }

        if (decision.Verdict == StepVerdict.Apply)
        {
            Engine.Apply(Position.Step, total, batch);
        }
        else
        {
            total.Dispose();
        }

        Position = decision.Position;
        if (decision.Failure is { } failure)
        {
            throw failure;
        }

        if (decision.Verdict == StepVerdict.GoBack)
        {
            RunPosition? last = _store.Load(Engine.Master, _tell, plannedOnly: true);
            (Position, string remark) = _rules.GoBack(Position, decision.Slice!, last);
            _tell(remark);
        }

        return decision.Verdict;
    }

    /// <summary>Writes the checkpoint that the plan has after a batch, if it has one there.</summary>
    /// <param name="verdict">What became of the batch.</param>
    public void SaveIfDue(StepVerdict verdict)
    {
        if (_rules.IsCheckpointDue(verdict, Position.Step, _lastPlanned))
        {
            _store.Save(Engine.Master, Position, isPlanned: true);
            _lastPlanned = Position.Step;
        }
    }

    /// <summary>Writes a checkpoint where the run is now, unless it has one there.</summary>
    public void Save()
    {
        if (Position.Step != _lastPlanned)
        {
            _store.Save(Engine.Master, Position, isPlanned: false);
        }
    }

    /// <summary>Writes the result.</summary>
    /// <exception cref="TrainingFailedException">Too little of the stage was trained on.</exception>
    public void SaveResult()
    {
        if (_rules.Failure(Position) is { } failure)
        {
            throw failure;
        }

        StageResult.Save(Config, Engine.Master, Position.Step);
    }

    /// <summary>SHA-256 of the master weights: equal for runs that trained alike.</summary>
    public string WeightsDigest()
    {
        using Tensor local = Engine.Master.Weights.detach().cpu();
        return Convert.ToHexStringLower(SHA256.HashData(local.bytes));
    }

    /// <summary>Puts the averaged weights into the network for as long as the result lives, if there are any.</summary>
    public IDisposable WithAverage() => Engine.Master.WithAverage();

    /// <inheritdoc/>
    public void Dispose()
    {
        Engine.Dispose();
        Network.Dispose();
    }

    private static int Parallel(MicroDiT network) => (int)Math.Clamp(
        GradientBytesMax / (sizeof(float) * network.parameters().Sum(p => p.numel())), 1, get_num_threads());

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
}
