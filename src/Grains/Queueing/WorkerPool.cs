// Workers as their queue sees them: each one, and those of one kind together. Workers of a kind may do the same work,
// so shares are fair among those who wait for them: one account a tenant, over all their models. Work that no worker
// may do stands in no account, and holds up nobody.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Queueing;

/// <summary>What decides which work a worker may do. A cluster has few of these.</summary>
/// <param name="Roles">Its roles.</param>
/// <param name="DeviceKind">Its device kind.</param>
/// <param name="Models">Digests of the models that it may hold, sorted, with spaces between.</param>
internal readonly record struct WorkerKind(WorkRoles Roles, string DeviceKind, string Models);

/// <summary>A worker as its queue sees it.</summary>
internal sealed class QueueWorker(string name)
{
    /// <summary>Its name.</summary>
    public string Name { get; } = name;

    /// <summary>Workers of its kind; none before its first turn.</summary>
    public WorkerPool? Pool { get; set; }

    /// <summary>Models that it may hold, as of its last turn.</summary>
    public WorkerModel[] Models { get; set; } = [];

    /// <summary>The model that it loads, or was told to load.</summary>
    public ModelDigest? Loading { get; set; }

    /// <summary>Slots that it had left after its last turn.</summary>
    public int Spare { get; set; }

    /// <summary>When it was last heard of.</summary>
    public DateTimeOffset SeenAt { get; set; }

    /// <summary>Work leased to it.</summary>
    public int Held { get; set; }

    /// <summary>Work leased to it that must be alone.</summary>
    public int HeldAlone { get; set; }

    /// <summary>Whether it hands back what it holds, to take work that must run alone.</summary>
    public bool IsDraining { get; set; }
}

/// <summary>How many workers of a kind have a model.</summary>
internal sealed class ModelSupply
{
    /// <summary>Workers that have it in memory.</summary>
    public int Workers { get; set; }

    /// <summary>Slots that these have left.</summary>
    public int Spare { get; set; }

    /// <summary>Workers that load it.</summary>
    public int Loading { get; set; }
}

/// <summary>Workers of one kind, and the tenants' accounts with them.</summary>
internal sealed class WorkerPool(WorkerKind kind, IEnumerable<ModelDigest> models)
{
    private readonly Dictionary<ModelDigest, ModelSupply> _supply =
        models.ToDictionary(model => model, _ => new ModelSupply());

    /// <summary>Their kind.</summary>
    public WorkerKind Kind { get; } = kind;

    /// <summary>Workers that are alive.</summary>
    public int Workers { get; set; }

    /// <summary>The tenants' accounts.</summary>
    public FairShare Shares { get; } = new();

    /// <summary>What they were granted lately.</summary>
    public Pace Pace { get; } = new();

    /// <summary>How many of them have a model that they may hold.</summary>
    public ModelSupply Supply(ModelDigest model) => _supply[model];

    /// <summary>Whether they may do work of a class.</summary>
    public bool Fits(WorkClass work) => Kind.Roles.HasFlag(work.Role) && _supply.ContainsKey(work.Model)
        && (work.DeviceKind is null || work.DeviceKind == Kind.DeviceKind);

    /// <summary>Counts what a worker has, or takes it back.</summary>
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

/// <summary>Operations granted a second, lately.</summary>
internal sealed class Pace
{
    // Averaged over about this time.
    private static readonly TimeSpan s_window = TimeSpan.FromSeconds(30);
    private double _granted;
    private DateTimeOffset _at;
    private DateTimeOffset? _since;

    /// <summary>Counts what is granted.</summary>
    public void Add(double cost, DateTimeOffset now)
    {
        _since ??= now;
        _granted = (_granted * Decay(now)) + cost;
        _at = now;
    }

    /// <summary>What was granted, fading, over the time that it stands for; 0 while nothing is known.</summary>
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
