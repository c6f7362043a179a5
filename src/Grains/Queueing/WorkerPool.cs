// Workers as the queue sees them: single workers, and pools of workers of one kind. Workers of a kind may do the same
// work, so each tenant has one account with their pool, across all models. Work that no worker may do is in no account
// and delays no tenant.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>The properties that decide which work a worker may do. A cluster has few combinations.</summary>
/// <param name="Roles">The worker's roles.</param>
/// <param name="DeviceKind">The worker's device kind.</param>
/// <param name="Models">Digests of the models that it may hold, sorted and separated by spaces.</param>
internal readonly record struct WorkerKind(WorkRoles Roles, string DeviceKind, string Models);

/// <summary>The queue's view of a worker.</summary>
internal sealed class QueueWorker(string name)
{
    /// <summary>Name of the worker: its silo and its device.</summary>
    public string Name { get; } = name;

    /// <summary>The pool of the worker's kind; null before the worker's first turn.</summary>
    public WorkerPool? Pool { get; set; }

    /// <summary>The models that the worker may hold, as of its last turn.</summary>
    public WorkerModel[] Models { get; set; } = [];

    /// <summary>The model that the worker is loading, or was instructed to load.</summary>
    public ModelDigest? Loading { get; private set; }

    /// <summary>Since when it does.</summary>
    public DateTimeOffset LoadingSince { get; private set; }

    /// <summary>Spare slots after its last turn.</summary>
    public int Spare { get; set; }

    /// <summary>Operations per second while it denoises; null if it has not reported any.</summary>
    public double? Speed { get; set; }

    /// <summary>Time of the worker's last turn.</summary>
    public DateTimeOffset SeenAt { get; set; }

    /// <summary>Number of work items leased to the worker.</summary>
    public int Held { get; set; }

    /// <summary>Number of those work items that must run alone.</summary>
    public int HeldAlone { get; set; }

    /// <summary>Whether the worker drains, to take work that must run alone.</summary>
    public bool IsDraining { get; set; }

    /// <summary>Records which model the worker is loading; null if it loads none.</summary>
    public void SetLoading(ModelDigest? model, DateTimeOffset now) =>
        (LoadingSince, Loading) = (model == Loading ? LoadingSince : now, model);
}

/// <summary>How many of a pool's workers have or are loading a model, and their spare slots.</summary>
internal sealed class ModelSupply
{
    /// <summary>Number of workers that have the model in memory.</summary>
    public int Workers { get; set; }

    /// <summary>Spare slots of these workers.</summary>
    public int Spare { get; set; }

    /// <summary>Number of workers that are loading the model.</summary>
    public int Loading { get; set; }
}

/// <summary>Workers of one kind, and the tenants' accounts with them.</summary>
internal sealed class WorkerPool(WorkerKind kind, IEnumerable<ModelDigest> models)
{
    private readonly Dictionary<ModelDigest, ModelSupply> _supply =
        models.ToDictionary(model => model, _ => new ModelSupply());

    /// <summary>Kind of the workers.</summary>
    public WorkerKind Kind { get; } = kind;

    /// <summary>Number of live workers.</summary>
    public int Workers { get; set; }

    /// <summary>The tenants' accounts.</summary>
    public FairShare Shares { get; } = new();

    /// <summary>Rate at which the workers were granted work recently.</summary>
    public Pace Pace { get; } = new();

    /// <summary>The supply of a model that the workers may hold.</summary>
    public ModelSupply Supply(ModelDigest model) => _supply[model];

    /// <summary>Whether the workers may do work of a class.</summary>
    public bool Fits(WorkClass work) => Kind.Roles.HasFlag(work.Role) && _supply.ContainsKey(work.Model)
        && (work.DeviceKind is null || work.DeviceKind == Kind.DeviceKind);

    /// <summary>Adds a worker to the counts (sign 1) or removes it (sign -1).</summary>
    public void Count(QueueWorker worker, int sign)
    {
        foreach (WorkerModel model in worker.Models)
        {
            ModelSupply supply = _supply[model.Model];
            if (model.Place == ModelPlace.Loaded)
            {
                supply.Workers += sign;
                supply.Spare += sign * worker.Spare;
            }

            supply.Loading += model.Model == worker.Loading ? sign : 0;
        }
    }
}

/// <summary>Exponentially weighted average of the operations granted per second.</summary>
internal sealed class Pace
{
    // Time constant of the average.
    private static readonly TimeSpan s_window = TimeSpan.FromSeconds(30);
    private double _granted;
    private DateTimeOffset _at;
    private DateTimeOffset? _since;

    /// <summary>Adds granted operations.</summary>
    public void Add(double cost, DateTimeOffset now)
    {
        _since ??= now;
        _granted = (_granted * Decay(now)) + cost;
        _at = now;
    }

    /// <summary>The average: the decayed operations divided by the decayed time; 0 before the first grant.</summary>
    public double At(DateTimeOffset now)
    {
        if (_since is not { } since || now <= since)
        {
            return 0;
        }

        double seconds = s_window.TotalSeconds * (1 - Math.Exp(-((now - since) / s_window)));
        return seconds > 0 ? _granted * Decay(now) / seconds : 0;
    }

    private double Decay(DateTimeOffset now) => Math.Exp(-Math.Max(0, (now - _at) / s_window));
}
