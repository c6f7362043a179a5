// The state of a stage in one replica: network, optimizer, position and checkpoints. It does not depend on which
// process computes the gradients, or when.
using System.Security.Cryptography;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using Atelier.Training;
using static TorchSharp.torch;

namespace Atelier.Model.Training.Runs;

/// <summary>
/// The state of a stage that can be trained, stopped and resumed. States that receive the same batches are equal bit
/// for bit. Not thread-safe.
/// </summary>
public sealed class StageState : IDisposable
{
    private readonly StageRules _rules;
    private readonly ITrainingData _data;
    private readonly CheckpointStore _store;
    private readonly Action<string> _remark;
    private long _lastPlanned;

    /// <summary>Starts a stage, or restores its newest checkpoint.</summary>
    /// <param name="config">The stage.</param>
    /// <param name="data">The stage's samples; the caller keeps ownership.</param>
    /// <param name="remark">Receives messages for the operator.</param>
    /// <exception cref="RefusedFileException">
    /// The checkpoints are of another run, or the initial weights are refused.
    /// </exception>
    public StageState(StageConfig config, ITrainingData data, Action<string> remark)
    {
        config = CheckpointStore.WithOrderOf(config);
        (Config, _rules, _data, _remark) = (config, config.Rules, data, remark);
        Network = new MicroDiT(config.Network);
        MicroDiTInitializer.Initialize(Network, config.Seed);
        TrainingSettings settings = StageIdentity.Settings(config);
        _store = CheckpointStore.Of(config, data);
        if (config.Start.Path is not null && !_store.HasAny)
        {
            StageResult.Load(Network, config.Start);
        }

        var source = new SeededShards(
            data, settings, config.Network, config.Seed, config.CaptionDrop, config.OrderVersion);
        Lanes = LanePlan.OfProcess(
            settings.Shards, settings.ThreadsPerShard!.Value, get_num_threads(),
            Network.parameters().Sum(p => p.numel()));
        Engine = new TrainingEngine(Network, settings, source, config.Compute, Lanes.Lanes);
        Position = _store.Load(Engine.Master, remark) ?? RunPosition.Start;
        _lastPlanned = _store.LastPlanned;
    }

    /// <summary>The stage's configuration.</summary>
    public StageConfig Config { get; }

    /// <summary>The run's identity: everything besides its position that its bits depend on.</summary>
    public RunIdentity Identity => _store.Identity;

    /// <summary>The number of shards that are computed at the same time.</summary>
    public LanePlan Lanes { get; }

    /// <summary>The run's position.</summary>
    public RunPosition Position { get; private set; }

    /// <summary>Samples left out of batches so far.</summary>
    public LeftOutSamples LeftOut => Position.LeftOut ?? LeftOutSamples.None;

    /// <summary>Whether all batches are done.</summary>
    public bool IsAtEnd => Position.Step >= Config.Steps;

    /// <summary>Whether all batches are done and the result is written.</summary>
    public bool IsComplete => IsAtEnd && File.Exists(StageResult.PathIn(Config.Folder));

    /// <summary>The network with its current weights, to be read between steps.</summary>
    public MicroDiT Network { get; }

    /// <summary>The engine that holds weights and moments.</summary>
    public TrainingEngine Engine { get; }

    /// <summary>Advances by one batch: applies the rules' decision and consumes the total.</summary>
    /// <param name="total">Sums of all the batch's shards.</param>
    /// <param name="batch">The totals as numbers.</param>
    /// <exception cref="TrainingFailedException">The run cannot continue.</exception>
    public StepVerdict Advance(GradientSum total, BatchOutcome batch)
    {
        StepDecision decision = _rules.Decide(Position, batch, _data.Place);
        foreach (string remark in decision.Remarks)
        {
            _remark(remark);
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

        if (decision.Verdict == StepVerdict.RollBack)
        {
            RunPosition? last = _store.Load(Engine.Master, _remark, plannedOnly: true);
            (Position, string remark) = _rules.RollBack(Position, decision.Slice!, last);
            _remark(remark);
        }

        return decision.Verdict;
    }

    /// <summary>Writes a planned checkpoint if one is due after the batch.</summary>
    /// <param name="verdict">The batch's verdict.</param>
    public void SaveIfDue(StepVerdict verdict)
    {
        if (_rules.IsCheckpointDue(verdict, Position.Step, _lastPlanned))
        {
            _store.Save(Engine.Master, Position, isPlanned: true);
            _lastPlanned = Position.Step;
        }
    }

    /// <summary>Writes a checkpoint at the current position, unless there is one already.</summary>
    public void Save()
    {
        if (Position.Step != _lastPlanned)
        {
            _store.Save(Engine.Master, Position, isPlanned: false);
        }
    }

    /// <summary>Writes the result.</summary>
    /// <exception cref="TrainingFailedException">Too little of the stage's data was trained on.</exception>
    public void SaveResult()
    {
        if (_rules.Failure(Position) is { } failure)
        {
            throw failure;
        }

        StageResult.Save(Config, Engine.Master, Position.Step);
    }

    /// <summary>SHA-256 of the master weights; equal for runs that trained identically.</summary>
    public string WeightsDigest()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((_, Tensor local) in TensorPieces.LocalOf(Engine.Master.Weights))
        {
            hash.AppendData(local.bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>
    /// If an average is kept, puts the averaged weights into the network until the result is disposed.
    /// </summary>
    public IDisposable WithAverage() => Engine.Master.WithAverage();

    /// <inheritdoc/>
    public void Dispose()
    {
        Engine.Dispose();
        Network.Dispose();
    }
}
