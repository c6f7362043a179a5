// Processes, the network between them, the directory of grains, membership and reminders: what Orleans does around
// grains, in simulated time. The grains, the worker's loop and their states are production's own.
using System.Collections.Immutable;
using System.Reflection;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Workers;
using Atelier.Grains.OpenSets;
using Atelier.Grains.Tests.Cluster;
using Orleans.Timers;

namespace Atelier.Grains.Tests.Simulation;

internal sealed class SimulatedCluster
{
    /// <summary>Noon, so that it is the same day for all clocks.</summary>
    public static readonly DateTimeOffset Start = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

    /// <summary>The settings that ship.</summary>
    public static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(4);

    /// <summary>Time, at most, until the others know that a silo is dead.</summary>
    public static readonly TimeSpan DetectionMax = TimeSpan.FromSeconds(3.5);

    private static readonly TimeSpan s_reminderPeriodMin = TimeSpan.FromMinutes(1);

    private static readonly GrainMethod s_receiveReminder = GrainMethod.Of(
        typeof(IRemindable).GetMethod(nameof(IRemindable.ReceiveReminder), [typeof(string), typeof(TickStatus)])!);

    private readonly Dictionary<GrainId, TimeSpan> _reminders = [];
    private readonly SimulatedContext _clients;
    private readonly SimulatedClock _clientClock;
    private int _generations;

    public SimulatedCluster(int seed, Action<GrainsOptions>? configure = null)
    {
        Random = new Random(seed);
        SendsBytes = seed % 4 == 0;
        Time = new EventLoop();
        Store = new SimulatedStore(Time, Random);
        _clients = new SimulatedContext(Time, null, null);
        _clientClock = new SimulatedClock(Time, action => action(), Start);
        Options.OpenSet.Partitions = 2;
        Options.Worker.OnFault = error => Fault ??= error;
        configure?.Invoke(Options);
        Services = Options.Services();
        Promises = new Promises(this);

        // Production draws this key at random; then a seed would not determine which partition holds what.
        byte[] key = new byte[32];
        new Random(seed).NextBytes(key);
        Store.States.Add("opensetlayout/0/layout", (Wire.Write(new OpenSetLayoutState { Key = key }), "0"));
    }

    public EventLoop Time { get; }

    /// <summary>Whether calls and answers are serialized.</summary>
    public bool SendsBytes { get; }

    public Random Random { get; }

    public SimulatedStore Store { get; }

    public Promises Promises { get; }

    public GrainsOptions Options { get; } = new();

    /// <summary>The options as services.</summary>
    public IReadOnlyDictionary<Type, object> Services { get; }

    public FakeMeter Meter { get; } = new();

    /// <summary>Silos that were never cut off.</summary>
    public ClusterView View { get; } = new();

    public List<SimulatedSilo> Silos { get; } = [];

    public Weather Network { get; set; } = new();

    /// <summary>Exceptions that a worker's loop did not expect.</summary>
    public Exception? Fault { get; private set; }

    /// <summary>Called before a call is sent, with the grain's key and the method; false loses the call.</summary>
    public Func<string, string, bool>? Sending { get; set; }

    /// <summary>What happened, for messages of failed tests.</summary>
    public List<(TimeSpan At, FormattableString What)> History { get; } = [];

    public int Calls { get; private set; }

    public void Note(FormattableString what) => History.Add((Time.Now, what));

    /// <summary>Starts a process.</summary>
    public SimulatedSilo Boot(string name, SimulatedDevice? device, TimeSpan clockError = default)
    {
        var silo = new SimulatedSilo(this, name, ++_generations, clockError, device);
        Silos.Add(silo);
        Note($"{name} starts, its clock is off by {clockError}");
        return silo;
    }

    /// <summary>Kills a process; the others learn of it later.</summary>
    public void Kill(SimulatedSilo silo)
    {
        if (silo.IsAlive)
        {
            Note($"{silo.Name} is killed");
            silo.Die();
            Time.After(Detection(), () => Declare(silo));
        }
    }

    /// <summary>Shuts a process down gracefully.</summary>
    public async Task LeaveAsync(SimulatedSilo silo)
    {
        Note($"{silo.Name} leaves");
        await silo.LeaveAsync();
        Note($"{silo.Name} has left");
        Declare(silo);
    }

    /// <summary>
    /// Cuts a process off from the others, which soon declare it dead. It continues alone with what is on it.
    /// </summary>
    public void CutOff(SimulatedSilo silo)
    {
        Note($"{silo.Name} is cut off");
        ClusterView all = silo.View;
        silo.View = new ClusterView { Directory = new(all.Directory) };
        Time.After(Detection(), () =>
        {
            Declare(silo);
            foreach ((GrainId id, SimulatedActivation one) in silo.View.Directory
                .Where(one => one.Value.Silo != silo).ToArray())
            {
                silo.View.Directory.Remove(id);
            }
        });
    }

    /// <summary>
    /// A process hangs for a while; if that takes too long, the others declare it dead, and it ends soon after.
    /// </summary>
    public void Freeze(SimulatedSilo silo, TimeSpan time)
    {
        Note($"{silo.Name} hangs for {time}");
        silo.Freeze();
        bool isLong = time > TimeSpan.FromSeconds(3);
        if (isLong)
        {
            Time.After(TimeSpan.FromSeconds(3), () =>
            {
                // When it comes back it reaches nobody until it has learned that it was declared dead.
                silo.View = new ClusterView
                {
                    Directory = silo.View.Directory.Where(one => one.Value.Silo == silo).ToDictionary(),
                };
                Declare(silo);
            });
        }

        Time.After(time, () =>
        {
            silo.Thaw();
            if (isLong)
            {
                Time.After(TimeSpan.FromSeconds(Random.NextDouble()), () => Kill(silo));
            }
        });
    }

    /// <summary>A silo that accepts calls.</summary>
    public SimulatedSilo? Any()
    {
        SimulatedSilo[] usable = [.. Silos.Where(silo => silo.IsUsable)];
        return usable.Length == 0 ? null : usable[Random.Next(usable.Length)];
    }

    /// <summary>Grains as a client reaches them now, through one of the silos.</summary>
    public IGrainFactory Grains =>
        Any()?.Grains ?? throw new Orleans.Runtime.SiloUnavailableException("No silo answers.");

    public IEnumerable<SimulatedActivation> Activations =>
        Silos.Where(silo => silo.IsAlive).SelectMany(silo => silo.Activations);

    /// <summary>Delays a client.</summary>
    public Task DelayAsync(TimeSpan time) => Task.Delay(time, _clientClock);

    /// <summary>Starts a client's actions; returns when they have ended.</summary>
    public Task ClientAsync(Func<Task> script)
    {
        var done = new TaskCompletionSource();
        _clients.Post(async () =>
        {
            try
            {
                await script();
                done.SetResult();
            }
            catch (Exception error)
            {
                done.SetException(error);
            }
        });
        return done.Task;
    }

    /// <summary>Runs a client's actions to their end.</summary>
    public void Run(Func<Task> script, TimeSpan limit)
    {
        Task done = ClientAsync(script);
        bool ended = Time.Run(() => done.IsCompleted || Fault is not null, limit);
        Check();
        if (!ended)
        {
            throw new TimeoutException($"A client has not ended after {limit}.\n{Story(null)}");
        }

        done.GetAwaiter().GetResult();
    }

    /// <summary>Repeats a client's action until it returns true.</summary>
    public void Until(Func<Task<bool>> condition, TimeSpan limit, TimeSpan? pause = null) => Run(
        async () =>
        {
            while (!await condition())
            {
                await DelayAsync(pause ?? TimeSpan.FromMilliseconds(50));
            }
        },
        limit);

    public void Check()
    {
        if (Fault is { } fault)
        {
            throw new InvalidOperationException($"A worker's loop ended: {fault.Message}\n{Story(null)}", fault);
        }
    }

    /// <summary>The recorded history of something, or of everything, as lines of text.</summary>
    public string Story(string? about) => string.Join('\n', History
        .Select(one => $"{one.At.TotalSeconds,8:0.000} {one.What.ToString()}")
        .Where(line => about is null || line.Contains($"{about} ", StringComparison.Ordinal)
            || line.EndsWith(about, StringComparison.Ordinal)
                || line.AsSpan(9).StartsWith("silo", StringComparison.Ordinal)
            || line.AsSpan(9).StartsWith("all", StringComparison.Ordinal))
        .TakeLast(150));

    /// <summary>A process's reference to a grain.</summary>
    public object Reference(SimulatedSilo origin, Type type, object key)
    {
        GrainId id = GrainClass.Of(type).Id(key is int number ? (long)number : key);
        return ReferenceOf(type, (method, arguments) => method.ReturnType == typeof(IAsyncEnumerable<GenerationEvent>)
            ? new SimulatedWatch(this, origin, id, (EventNumber)arguments[0]!)
            : CallAsync(origin, id, GrainMethod.Of(method), arguments));
    }

    /// <summary>Sends an answer back to the caller.</summary>
    public void Answer(Request request, SimulatedActivation from, Action<Answer> give)
    {
        if (!request.Fate.IsUnanswered)
        {
            Time.After(request.Fate.Back, () =>
            {
                if (from.Silo.View == request.Origin.View || from.Silo == request.Origin)
                {
                    give(request.Answer);
                }
            });
        }
    }

    /// <summary>A call to an activation that has died is sent to the next one.</summary>
    public void Forward(Request request)
    {
        if (++request.Forwards > 2)
        {
            request.Answer.Fail(new OrleansException($"{request.Grain} has moved too often."));
        }
        else
        {
            Deliver(request);
        }
    }

    /// <summary>Removes an activation.</summary>
    public static void Forget(SimulatedActivation activation)
    {
        activation.Silo.Activations.Remove(activation);
        if (activation.Silo.View.Directory.GetValueOrDefault(activation.GrainId) == activation)
        {
            activation.Silo.View.Directory.Remove(activation.GrainId);
        }
    }

    /// <summary>The silo where a grain is active, or becomes active; null if no silo accepts it.</summary>
    public SimulatedActivation? Locate(SimulatedSilo origin, GrainId id)
    {
        ClusterView view = origin.View;
        if (view.Directory.TryGetValue(id, out SimulatedActivation? known))
        {
            return known;
        }

        GrainClass type = GrainClass.Named(id.Type);
        SimulatedSilo[] hosts =
        [
            .. Silos.Where(silo => silo.IsAlive && !silo.IsLeaving && silo.View == view
                && (type.Interface != typeof(IWorkerGrain) || id.Key.ToString() == silo.WorkerName)),
        ];
        if (hosts.Length == 0)
        {
            return null;
        }

        SimulatedSilo host = hosts[Random.Next(hosts.Length)];
        var activation = new SimulatedActivation(this, host, id, type);
        host.Activations.Add(activation);
        view.Directory.Add(id, activation);
        return activation;
    }

    public IClusterMembershipService MembershipOf(SimulatedSilo silo) => new Membership(this, silo);

    public IReminderRegistry Reminders(SimulatedSilo silo) =>
        Workers.GrainProxy.Make<IReminderRegistry>((method, arguments) =>
        {
            if (method.Name != nameof(IReminderRegistry.RegisterOrUpdateReminder))
            {
                throw new NotSupportedException(method.Name);
            }

            return RemindAsync(silo, (GrainId)arguments[0]!, (TimeSpan)arguments[3]!);
        });

    private static object ReferenceOf(Type type, Func<MethodInfo, object?[], object?> answer)
    {
        object proxy = DispatchProxy.Create(type, typeof(Workers.GrainProxy));
        ((Workers.GrainProxy)proxy).Answer = answer;
        return proxy;
    }

    private TimeSpan Detection() => TimeSpan.FromSeconds(1.5 + (2 * Random.NextDouble()));

    private Task CallAsync(SimulatedSilo origin, GrainId id, GrainMethod method, object?[] arguments)
    {
        Calls++;
        Fate fate = Fate.Draw(Random, Network);
        var request = new Request(origin, id, method, Parcel.Of(arguments, SendsBytes), Time.Now + CallTimeout)
        {
            Fate = fate,
        };
        if (!method.IsOneWay)
        {
            Time.After(CallTimeout, () =>
            {
                if (!request.Answer.IsOver)
                {
                    request.Answer.Fail(new TimeoutException($"{id}.{method.Name} has no answer."));
                }
            });
        }

        if (!fate.IsRefused && Sending?.Invoke(id.ToString(), method.Name) != false)
        {
            Time.After(fate.There, () => Deliver(request));
        }

        return method.IsOneWay ? Task.CompletedTask : request.Answer.Task;
    }

    private void Deliver(Request request)
    {
        if (Locate(request.Origin, request.Grain) is not { } activation)
        {
            request.Answer.Fail(new SiloUnavailableException($"No silo takes {request.Grain}."));
            return;
        }

        SimulatedSilo silo = activation.Silo;
        silo.Inbound.Add(request);
        if (silo.View == request.Origin.View)
        {
            silo.Run(() => activation.Receive(request));
        }
    }

    // The others know that a silo is dead, or believe so.
    private void Declare(SimulatedSilo silo)
    {
        foreach (ClusterView view in Silos.Where(one => one.IsAlive && one != silo)
            .Select(one => one.View).Append(View).Distinct())
        {
            foreach (SimulatedActivation one in view.Directory.Values.Where(one => one.Silo == silo).ToArray())
            {
                view.Directory.Remove(one.GrainId);
            }
        }

        foreach (Request request in silo.Inbound.Where(one => !one.Answer.IsOver && one.Origin != silo).ToArray())
        {
            request.Answer.Fail(new SiloUnavailableException($"{silo.Name} is dead."));
        }

        silo.Inbound.Clear();
        foreach (SimulatedActivation activation in silo.Activations.ToArray())
        {
            activation.Leaving.ForEach(leave => leave());
        }
    }

    private async Task<IGrainReminder> RemindAsync(SimulatedSilo silo, GrainId grain, TimeSpan period)
    {
        await Store.WriteReminderAsync(silo, $"/reminders/{grain}");
        period = period < s_reminderPeriodMin ? s_reminderPeriodMin : period;
        bool isNew = !_reminders.ContainsKey(grain);
        _reminders[grain] = Time.Now + period;
        if (isNew)
        {
            Time.After(period, () => Remind(grain, period));
        }

        return Workers.GrainProxy.Make<IGrainReminder>((_, _) => "walk");
    }

    // A reminder fires once per period, not before it was due first, and on each side of a partitioned cluster.
    private void Remind(GrainId grain, TimeSpan period)
    {
        if (_reminders[grain] > Time.Now)
        {
            Time.After(_reminders[grain] - Time.Now, () => Remind(grain, period));
            return;
        }

        _reminders[grain] = Time.Now + period;
        Time.After(period, () => Remind(grain, period));
        foreach (SimulatedSilo silo in Silos.Where(silo => silo.IsUsable).DistinctBy(silo => silo.View).ToArray())
        {
            var status = new TickStatus(default, period, default);
            CallAsync(silo, grain, s_receiveReminder, ["walk", status]).Ignore();
        }
    }

    private sealed class Membership(SimulatedCluster cluster, SimulatedSilo silo) : IClusterMembershipService
    {
        public ClusterMembershipSnapshot CurrentSnapshot => new(
            cluster.Silos.Where(one => one.IsAlive && one.View == silo.View).ToImmutableDictionary(
                one => one.Address, one => new ClusterMember(one.Address, SiloStatus.Active, one.Name)),
            new MembershipVersion(1));

        public IAsyncEnumerable<ClusterMembershipSnapshot> MembershipUpdates => throw new NotSupportedException();

        public ValueTask Refresh(
            MembershipVersion minimumVersion = default, CancellationToken cancellationToken = default) =>
            default;

        public Task<bool> TryKill(SiloAddress siloAddress) => throw new NotSupportedException();
    }
}

/// <summary>A stream of events as a client reads it: each move is a call that interleaves.</summary>
internal sealed class SimulatedWatch(SimulatedCluster cluster, SimulatedSilo origin, GrainId id, EventNumber after)
    : IAsyncEnumerable<GenerationEvent>, IAsyncEnumerator<GenerationEvent>
{
    private SimulatedActivation? _activation;
    private IAsyncEnumerator<GenerationEvent>? _events;
    private TaskCompletionSource<bool>? _move;

    public GenerationEvent Current { get; private set; } = null!;

    public IAsyncEnumerator<GenerationEvent> GetAsyncEnumerator(CancellationToken cancellationToken = default) => this;

    public ValueTask DisposeAsync() => default;

    public ValueTask<bool> MoveNextAsync()
    {
        var move = new TaskCompletionSource<bool>();
        _move = move;
        Fate fate = Fate.Draw(cluster.Random, cluster.Network);
        cluster.Time.After(fate.There, () =>
        {
            if (fate.IsRefused || fate.IsUnanswered)
            {
                cluster.Time.After(
                    SimulatedCluster.CallTimeout, () => Break(new TimeoutException("A stream has no answer.")));
                return;
            }

            if (_activation is null)
            {
                _activation = cluster.Locate(origin, id);
                _activation?.Leaving.Add(() => Break(new EnumerationAbortedException("The grain has moved.")));
            }

            // A dead silo cannot break a stream that starts, or continues, after its death was noticed.
            if (_activation is not { IsGone: false, Silo.IsAlive: true } activation
                || activation.Silo.View != origin.View)
            {
                Break(new SiloUnavailableException($"{id} is not there."));
                return;
            }

            activation.Silo.Run(() => activation.Interleave(async () =>
            {
                try
                {
                    _events ??= ((IGenerationGrain)activation.Instance).WatchAsync(after).GetAsyncEnumerator();
                    bool more = await _events.MoveNextAsync();
                    Parcel one = Parcel.Of(more ? _events.Current : null, cluster.SendsBytes);
                    cluster.Time.After(fate.Back, () =>
                    {
                        Current = one.Open<GenerationEvent?>()!;
                        move.TrySetResult(more);
                    });
                }
                catch (Exception error)
                {
                    Break(error);
                }
            }));
        });
        return new ValueTask<bool>(move.Task);
    }

    private void Break(Exception error) => _move?.TrySetException(error);
}
