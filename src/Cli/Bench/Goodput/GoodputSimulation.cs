// A stage in simulated time: the real rules of worlds, replicas and the manager, with durations for computing, for
// sending gradients and states over limited networks, and for heartbeats. Nothing is computed and no step is verified.
using Atelier.Training.Stages;
using Atelier.Training.Worlds;

namespace Atelier.Cli.Bench.Goodput;

/// <summary>A simulated stage.</summary>
internal sealed class GoodputSimulation
{
    /// <summary>Seconds that a message takes besides its bytes.</summary>
    public const double Latency = 0.0005;

    // Durations of the cluster: a call to the manager's grain, a write to the store, the manager's timer.
    private const double CallSeconds = 0.005;
    private const double StoreSeconds = 0.02;
    private const double TickSeconds = 0.25;

    private readonly PriorityQueue<Action, (double At, long Order)> _events = new();
    private readonly Dictionary<TrainerId, GoodputTrainer> _trainers = [];
    private readonly GoodputTrainer?[] _places;
    private readonly StageManager _manager;
    private readonly List<double> _appliedAt = [0];
    private long _order;
    private long _incarnations;
    private bool _isStoring;

    /// <summary>Creates a stage whose devices are all there.</summary>
    /// <param name="settings">The stage and its devices.</param>
    /// <param name="shardSeconds">Seconds that a device computes a shard.</param>
    public GoodputSimulation(GoodputSettings settings, double shardSeconds)
    {
        (Settings, ShardSeconds) = (settings, shardSeconds);
        _places = new GoodputTrainer?[settings.Devices];
        _manager = new StageManager(
            new WorldOptions(), settings.Shards, ["weights"], 1, new WorldRecord(null, 0), TimeSpan.Zero);
        for (int place = 0; place < settings.Devices; place++)
        {
            Begin(place);
        }

        Tick();
    }

    public GoodputSettings Settings { get; }

    public double ShardSeconds { get; }

    /// <summary>Seconds since the beginning.</summary>
    public double Now { get; private set; }

    /// <summary>Number of steps that any trainer has applied.</summary>
    public int Steps => _appliedAt.Count - 1;

    /// <summary>Number of members of the stored world.</summary>
    public int Members => _manager.Record.World?.Members.Length ?? 0;

    /// <summary>Number of worlds so far.</summary>
    public int Worlds => _manager.Record.World?.Number ?? 0;

    /// <summary>
    /// The seconds that a device needs for a shard so that a step with all devices, exchange included, takes the time
    /// that the settings say; and the time of such a step.
    /// </summary>
    public static (double Shard, double Step) Calibrate(GoodputSettings settings)
    {
        double full = settings.StepSeconds * settings.Members / settings.Shards, shard = full;
        double step = 0;
        for (int i = 0; i < 4; i++)
        {
            const int first = 3, last = 6;
            var run = new GoodputSimulation(settings with { Rate = 0 }, shard);
            run.Run(double.PositiveInfinity, () => run.Steps >= last && run.Members == settings.Members);
            step = (run.AppliedAt(run.Steps) - run.AppliedAt(run.Steps - last + first)) / (last - first);
            if (Math.Abs(step - settings.StepSeconds) < 0.001 * settings.StepSeconds)
            {
                break;
            }

            shard = Math.Max(0.01 * full, shard * (1 + ((settings.StepSeconds - step) / settings.StepSeconds)));
        }

        return (shard, step);
    }

    /// <summary>When the given number of steps was first reached, in seconds.</summary>
    public double AppliedAt(int steps) => _appliedAt[steps];

    public void Run(double until, Func<bool>? isOver = null)
    {
        while (_events.TryPeek(out Action? action, out (double At, long Order) key) && key.At <= until
            && isOver?.Invoke() != true)
        {
            _events.Dequeue();
            Now = key.At;
            action();
        }
    }

    public void At(double at, Action action) => _events.Enqueue(action, (at, _order++));

    public void After(double seconds, Action action) => At(Now + seconds, action);

    public GoodputTrainer? Find(TrainerId id) =>
        _trainers.TryGetValue(id, out GoodputTrainer? trainer) && !trainer.IsGone ? trainer : null;

    /// <summary>A device is taken, and replaced later.</summary>
    public void Take(Preemption preemption)
    {
        int place = preemption.Place;
        if (Settings.IsNoticed)
        {
            At(Math.Max(Now, preemption.At - Settings.NoticeSeconds), () => _places[place]?.Leave());
        }

        At(preemption.At, () =>
        {
            if (_places[place] is { } taken)
            {
                taken.IsGone = true;
                _trainers.Remove(taken.Id);
                _places[place] = null;
            }
        });
        At(preemption.At + Settings.ReplacedAfter, () => Begin(place));
    }

    public void Applied(long steps)
    {
        if (steps == _appliedAt.Count)
        {
            _appliedAt.Add(Now);
        }
    }

    /// <summary>A trainer's heartbeat, and the manager's answer.</summary>
    public void Report(GoodputTrainer from, TrainerReport report) => After(CallSeconds, () =>
    {
        (ManagerAnswer answer, _) = _manager.Receive(report, new StateReport(), TimeSpan.FromSeconds(Now));
        Advance();
        After(CallSeconds, () => from.Answered(answer));
    });

    private void Begin(int place)
    {
        var trainer = new GoodputTrainer(this, new TrainerId($"device{place}", ++_incarnations));
        _places[place] = _trainers[trainer.Id] = trainer;

        // Heartbeats of different trainers are not in step.
        After(place * 0.618 % 1, trainer.Beat);
    }

    private void Tick()
    {
        Advance();
        After(TickSeconds, Tick);
    }

    private void Advance()
    {
        if (_isStoring)
        {
            return;
        }

        int asking = _manager.Asking;
        if (_manager.Tick(TimeSpan.FromSeconds(Now)) is { } change)
        {
            _isStoring = true;
            After(StoreSeconds, () =>
            {
                _isStoring = false;
                _manager.Stored(change, TimeSpan.FromSeconds(Now));
                Wake();
            });
        }
        else if (_manager.Asking > asking)
        {
            Wake();
        }
    }

    private void Wake()
    {
        foreach (GoodputTrainer trainer in _trainers.Values)
        {
            After(CallSeconds, trainer.Report);
        }
    }
}
