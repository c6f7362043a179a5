// A whole cluster under a seed: production's grains and worker loops, clients, and everything that can go wrong. After
// a while the faults end, and then everything accepted must end soon; finally its retention time passes.
using Atelier.Contracts;
using Atelier.Contracts.Diagnostics;
using Atelier.Contracts.Generations;
using Atelier.Contracts.OpenSets;
using Atelier.Contracts.Sessions;
using Atelier.Contracts.Tenants;
using Atelier.Grains.Blobs;
using Atelier.Grains.Ports;
using Atelier.Grains.Tests.Cluster;
using Microsoft.Extensions.Logging.Abstractions;
using static Atelier.Grains.Tests.Simulation.Promises;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>Counts of what happened, to check that the faults really occur.</summary>
internal sealed class SimulationCounts
{
    public int Done, Failed, Cancelled, Deleted;
    public int Kills, Drains, Freezes, Parted, Conflicts, Restarts, Forgotten, Left, Swept, Calls, Exact;

    public void Add(SimulationCounts other)
    {
        foreach (System.Reflection.FieldInfo field in typeof(SimulationCounts).GetFields())
        {
            field.SetValue(this, (int)field.GetValue(this)! + (int)field.GetValue(other)!);
        }
    }

    public override string ToString() => string.Join(
        ", ", typeof(SimulationCounts).GetFields().Select(field => $"{field.Name} {field.GetValue(this)}"));
}

internal sealed class ClusterSimulation
{
    private const int Tenants = 3;

    // After the last fault: a walk by reminder, a submission's time and another walk, leases, and the work itself.
    private static readonly TimeSpan s_endMax = TimeSpan.FromSeconds(85);

    // A silo that was cut off may have ended a picture unknown to another activation, which rereads its state once per
    // walk.
    private static readonly TimeSpan s_streamMax = TimeSpan.FromSeconds(70);
    private static readonly TimeSpan s_quietMax = TimeSpan.FromSeconds(160);

    // Once a minute a tenant's grain checks charges that were not confirmed for two walks and a submission's time.
    private static readonly TimeSpan s_countsMax = TimeSpan.FromSeconds(215);
    private static readonly TimeSpan s_faultsLast = TimeSpan.FromSeconds(30);
    private static readonly ModelDigest s_model = FakeDevice.ModelOf(0);

    // Faults after which a tenant is charged for exactly what was computed.
    private static readonly Fault[] s_mild = [Fault.LostCalls, Fault.SlowCalls, Fault.Blobs];

    private readonly SimulatedCluster _cluster;
    private readonly Promises _promises;
    private readonly Random _random;
    private readonly SimulationCounts _counts = new();
    private readonly Dictionary<SessionKey, List<GenerationKey>> _sessions = [];
    private readonly List<Task> _clients = [];
    private readonly List<(GenerationKey Of, Task End)> _watchers = [];
    private readonly Fault[] _faults;
    private readonly bool _hasGpu;
    private readonly bool _sweeps;
    private bool _isFaulty = true;

    /// <summary>Kinds of fault; a seed draws some.</summary>
    private enum Fault
    {
        Kill, Drain, Freeze, CutOff, Deactivate, LostCalls, SlowCalls, States, Blobs, KillAtAnswer,
    }

    private ClusterSimulation(int seed)
    {
        _cluster = new SimulatedCluster(seed, options =>
        {
            options.Retention.Generations = TimeSpan.FromHours(2);
            options.Retention.Sessions = TimeSpan.FromHours(1);
        });
        _promises = _cluster.Promises;
        _random = _cluster.Random;
        _hasGpu = seed % 3 == 0;
        _sweeps = seed % 5 == 0;
        Fault[] all = Enum.GetValues<Fault>();
        _random.Shuffle(all);
        _faults = all[..(2 + _random.Next(all.Length - 2))];
        if (seed % 10 == 7)
        {
            _faults = s_mild;
        }
    }

    /// <summary>Runs a seed; a broken promise is thrown.</summary>
    public static SimulationCounts Run(int seed)
    {
        var simulation = new ClusterSimulation(seed);
        try
        {
            simulation.Run();
            return simulation._counts;
        }
        catch (Exception error)
        {
            throw new InvalidOperationException(
                $"seed={seed} faults={string.Join(',', simulation._faults)} at "
                + $"{simulation._cluster.Time.Now.TotalSeconds:0.000} s "
                + $"(ATELIER_SEEDS={seed} replays it): {error.Message}", error);
        }
    }

    private void Run()
    {
        for (int i = 0; i < 3; i++)
        {
            Boot($"silo{i}");
        }

        _cluster.Run(SetUpAsync, TimeSpan.FromSeconds(30));
        for (int i = 0; i < 10; i++)
        {
            int number = i;
            _clients.Add(_cluster.ClientAsync(() => ClientAsync(number)));
        }

        TimeSpan end = _cluster.Time.Now + s_faultsLast;
        _ = HarmAsync(end);
        if (_sweeps)
        {
            _ = _cluster.ClientAsync(SweepOnAsync);
        }

        Await(() => _cluster.Time.Now >= end, s_faultsLast + TimeSpan.FromSeconds(1), () => "time does not pass");
        Calm();
        Await(
            () => _clients.TrueForAll(one => one.IsCompleted) && _promises.AllEnded, EndMax,
            () => $"After the last fault something does not end.\n{_promises.Open}");
        Rethrow(_clients);
        Await(
            () => _watchers.TrueForAll(one => one.End.IsCompleted), s_streamMax,
            () =>
                $"A stream does not end.\n{_cluster.Story(_watchers.Find(one => !one.End.IsCompleted).Of.ToString())}");
        Rethrow([.. _watchers.Select(one => one.End)]);
        _promises.CheckEnds();
        _cluster.Until(IsQuietAsync, s_quietMax, TimeSpan.FromSeconds(2));
        _promises.CheckEnds();
        _promises.CheckBlobs();
        _cluster.Until(IsNothingCountedAsync, s_countsMax, TimeSpan.FromSeconds(2));
        _cluster.Run(CheckCountsAsync, TimeSpan.FromSeconds(10));
        _cluster.Run(CheckSessionsAsync, TimeSpan.FromSeconds(10));
        _cluster.Run(SweepAsync, TimeSpan.FromSeconds(30));
        _promises.CheckSwept();
        Forget();
        Count();
    }

    // If a device kind is gone, its snapshots wait for it: in the queue, and once more at the generation. A poison
    // request kills every worker until it has failed.
    private TimeSpan EndMax => s_endMax + (_hasGpu ? 2 * _cluster.Options.Generation.DeviceKindPatience : default)
        + TimeSpan.FromMinutes(_promises.Poison.Count > 0 ? 1 : 0);

    private void Count()
    {
        (_counts.Done, _counts.Failed, _counts.Restarts) = (
            _promises.Done / 2, _promises.Failed / 2, _promises.Restarts / 2);
        (_counts.Cancelled, _counts.Deleted) = (_promises.Cancelled.Count, _promises.Deleting.Count);
        (_counts.Conflicts, _counts.Forgotten, _counts.Left) = (
            _cluster.Store.Conflicts, _promises.Forgotten, _promises.Left);
        _counts.Calls = _cluster.Calls;
    }

    private void Boot(string name)
    {
        bool isGpu = _isFaulty && _hasGpu && name == "silo2";
        var device = new SimulatedDevice(isGpu ? "gpu" : "cpu") { Evaluating = Evaluating };
        _cluster.Boot(name, device, TimeSpan.FromSeconds(_random.Next(-4000, 4000)));
    }

    private void Evaluating(SimulatedSilo silo, IReadOnlyList<FakeDenoising> pictures)
    {
        if (pictures.Any(one => one.Spec.Prompt.Contains("broken", StringComparison.Ordinal)))
        {
            throw new DeviceException(GenerationError.KernelFailed, "The kernel failed.");
        }

        if (pictures.Any(one => one.Spec.Prompt.Contains("poison", StringComparison.Ordinal) && one.Step == 2))
        {
            Kill(silo);
        }
    }

    private async Task SetUpAsync()
    {
        for (int i = 0; i < Tenants; i++)
        {
            int tenant = i;
            await AgainAsync(() => _cluster.Grains.Tenant(Tenant(tenant)).PutAsync(
                new TenantSettings { Weight = 1 + tenant, RequestsPerMinute = 100_000 }));
        }

        while (await AgainAsync(() => _cluster.Grains.Catalog().FindAsync(s_model.Value)) is null)
        {
            await _cluster.DelayAsync(TimeSpan.FromMilliseconds(100));
        }
    }

    // Causes faults until the faults end.
    private async Task HarmAsync(TimeSpan end)
    {
        await _cluster.ClientAsync(async () =>
        {
            while (true)
            {
                await _cluster.DelayAsync(TimeSpan.FromSeconds(0.2 + (2 * _random.NextDouble())));
                if (_cluster.Time.Now >= end)
                {
                    return;
                }

                Harm(_faults[_random.Next(_faults.Length)]);
            }
        });
    }

    // An administrator who sweeps all the time, without a grace period: what is needed must stay even so.
    private async Task SweepOnAsync()
    {
        while (_isFaulty)
        {
            await _cluster.DelayAsync(TimeSpan.FromSeconds(1 + _random.NextDouble()));
            await SweepAsync();
        }
    }

    private async Task SweepAsync()
    {
        if (_cluster.Any() is { } silo)
        {
            var sweep = new BlobSweep(
                _cluster.Store.BlobsOf(silo),
                BlobOwners.Of(
                    _cluster.Grains, new LogLimits(TimeProvider.System), NullLogger<BlobOwners>.Instance),
                _cluster.Store.Now, isDryRun: false);
            try
            {
                await foreach (SweptBlob one in sweep.RunAsync(CancellationToken.None))
                {
                    _counts.Swept += one.IsRemoved ? 1 : 0;
                }
            }
            catch (IOException)
            {
                // The store cannot be listed.
            }
        }
    }

    private void Harm(Fault fault)
    {
        SimulatedSilo? silo = _cluster.Any();
        switch (fault)
        {
            case Fault.Kill when silo is not null:
                Kill(silo);
                break;
            case Fault.Drain when silo is not null:
                _counts.Drains++;
                _ = DrainAsync(silo);
                break;
            case Fault.Freeze when silo is not null:
                _counts.Freezes++;
                TimeSpan time = TimeSpan.FromSeconds(8 * _random.NextDouble());
                _promises.Disturbed(silo);
                _cluster.Freeze(silo, time);
                BootAfter(silo, time > TimeSpan.FromSeconds(3) ? TimeSpan.FromSeconds(9) : null);
                break;
            case Fault.CutOff when silo is not null && silo.View == _cluster.View:
                _counts.Parted++;
                _promises.Disturbed(silo);
                _cluster.CutOff(silo);
                _cluster.Time.After(TimeSpan.FromSeconds(4 + (8 * _random.NextDouble())), () => Kill(silo));
                break;
            case Fault.Deactivate:
                SimulatedActivation[] all = [.. _cluster.Activations.Where(_ => _random.Next(3) == 0)];
                Array.ForEach(all, one => one.Deactivate());
                break;
            case Fault.LostCalls:
                _promises.Disturbed(null);
                _cluster.Network = new Weather
                {
                    Refused = 0.15 * _random.NextDouble(), Unanswered = 0.15 * _random.NextDouble(),
                };
                break;
            case Fault.SlowCalls:
                _promises.Disturbed(null);
                _cluster.Network = new Weather { Slow = _random.NextDouble() * 0.3, SlowMax = TimeSpan.FromSeconds(6) };
                break;
            case Fault.States:
                _cluster.Store.StateWeather = Storm();
                break;
            case Fault.Blobs:
                _cluster.Store.BlobWeather = Storm();
                break;
        }

        // Temporary disturbances.
        if (_random.Next(3) == 0)
        {
            ClearUp();
        }
    }

    private void ClearUp() => (_cluster.Network, _cluster.Store.StateWeather, _cluster.Store.BlobWeather) =
        (new Weather(), new Weather(), new Weather());

    private Weather Storm() => new()
    {
        Refused = _random.NextDouble() * 0.3, Unanswered = _random.NextDouble() * 0.2,
        Slow = _random.NextDouble() * 0.3,
    };

    private void Kill(SimulatedSilo silo)
    {
        if (silo.IsAlive)
        {
            _counts.Kills++;
            _promises.Disturbed(silo);
            _cluster.Kill(silo);
            BootAfter(silo, TimeSpan.FromSeconds(0.3 + (4 * _random.NextDouble())));
        }
    }

    private void BootAfter(SimulatedSilo silo, TimeSpan? time)
    {
        if (time is { } after)
        {
            _cluster.Time.After(after, () =>
            {
                if (!_cluster.Silos.Exists(one => one.Name == silo.Name && one.IsAlive))
                {
                    Boot(silo.Name);
                }
            });
        }
    }

    private Task DrainAsync(SimulatedSilo silo) => _cluster.ClientAsync(async () =>
    {
        await _cluster.LeaveAsync(silo);
        BootAfter(silo, TimeSpan.FromSeconds(_random.NextDouble()));
    });

    // No faults from now on; a device kind may be gone for good.
    private void Calm()
    {
        _cluster.Note($"all silos are well from now on");
        _isFaulty = false;
        ClearUp();
        foreach (SimulatedSilo silo in _cluster.Silos.Where(silo => silo.IsAlive).ToArray())
        {
            if (silo.View != _cluster.View || silo.Device!.Kind == "gpu"
                || silo is { IsUsable: false, IsLeaving: false })
            {
                Kill(silo);
            }
        }
    }

    private async Task ClientAsync(int number)
    {
        await _cluster.DelayAsync(20 * _random.NextDouble() * TimeSpan.FromSeconds(1));
        TenantId tenant = Tenant(number % Tenants);
        string what = number switch
        {
            3 when _random.Next(3) == 0 => "poison",
            4 when _random.Next(3) == 0 => "broken",
            _ => "picture",
        };
        var submission = new Submission
        {
            Spec = new GenerationSpec
            {
                Model = s_model, Prompt = $"{what} {number}", Seed = (ulong)number, Steps = 3 + _random.Next(8),
                Width = 64, Height = 64,
            },
            Previews = _random.Next(3),
        };
        SessionId? session = number % 3 == 0 ? new SessionId($"session{_random.Next(2)}") : null;
        submission = submission with { Session = session };
        if (await SubmitAsync(new GenerationKey(tenant, new GenerationId($"g{number}")), submission) is { } key)
        {
            await FollowAsync(key, submission);
        }
    }

    // Submits until there is an answer; a submission that came too late is submitted under another id.
    private async Task<GenerationKey?> SubmitAsync(GenerationKey key, Submission submission)
    {
        _ = submission.Spec.Prompt.Contains("poison", StringComparison.Ordinal) && _promises.Poison.Add(key);
        _ = submission.Spec.Prompt.Contains("broken", StringComparison.Ordinal) && _promises.Broken.Add(key);
        while (true)
        {
            SubmitAnswer answer = await AgainAsync(() => submission.Session is { } session
                ? _cluster.Grains.Session(new SessionKey(key.Tenant, session)).SubmitAsync(key.Id, submission)
                : _cluster.Grains.Generation(key).SubmitAsync(submission));
            _cluster.Note($"{key} is submitted: {answer.Outcome}");
            switch (answer.Outcome)
            {
                case SubmitOutcome.Accepted or SubmitOutcome.Exists:
                    _promises.Accepted.Add(key, submission);
                    if (submission.Session is { } of)
                    {
                        var session = new SessionKey(key.Tenant, of);
                        _ = _promises.DeletingSessions.Contains(session) && _promises.Deleting.Add(key);
                        _sessions.TryAdd(session, []);
                        _sessions[session].Add(key);
                    }

                    return key;
                case SubmitOutcome.Gone when submission.Session is { } deleted
                    && _promises.DeletingSessions.Contains(new SessionKey(key.Tenant, deleted)):
                    return null;
                case SubmitOutcome.Gone:
                    return await SubmitAsync(key with { Id = new GenerationId($"{key.Id}x") }, submission);
                case SubmitOutcome.Busy or SubmitOutcome.TooManyOpen or SubmitOutcome.UnknownModel:
                    await _cluster.DelayAsync(TimeSpan.FromSeconds(1));
                    break;
                default:
                    throw new InvalidOperationException($"{key} is {answer.Outcome}: {answer.Message}");
            }
        }
    }

    private async Task FollowAsync(GenerationKey key, Submission submission)
    {
        if (_isFaulty && _faults.Contains(Fault.KillAtAnswer) && _random.Next(3) == 0)
        {
            foreach (SimulatedSilo silo in _cluster.Silos.Where(one => one.IsUsable && _random.Next(2) == 0).ToArray())
            {
                Kill(silo);
            }
        }

        if (_random.Next(2) == 0)
        {
            _watchers.Add((key, _cluster.ClientAsync(() => WatchAsync(key))));
        }

        await _cluster.DelayAsync(6 * _random.NextDouble() * TimeSpan.FromSeconds(1));
        switch (_random.Next(8))
        {
            case 0:
                GenerationView? view = await AgainAsync(() => _cluster.Grains.Generation(key).CancelAsync());
                _cluster.Note($"{key} is cancelled: {view?.Phase}");
                _ = view?.Phase == GenerationPhase.Cancelled && _promises.Cancelled.Add(key);
                break;
            case 1:
                _promises.Deleting.Add(key);
                await AgainAsync(async () =>
                {
                    await _cluster.Grains.Generation(key).DeleteAsync();
                    return true;
                });
                _cluster.Note($"{key} is deleted");
                _promises.Deleted.Add(key);
                break;
            case 2:
                SubmitAnswer again = await AgainAsync(() => _cluster.Grains.Generation(key).SubmitAsync(submission));
                Hold(
                    again.IsAccepted || _promises.Deleting.Contains(key),
                    () => $"{key} is {again.Outcome}\n{_cluster.Story(key.ToString())}");
                break;
            case 3:
                Submission other = submission with { Previews = submission.Previews ^ 1 };
                SubmitAnswer conflict = await AgainAsync(() => _cluster.Grains.Generation(key).SubmitAsync(other));
                Hold(
                    conflict.Outcome == SubmitOutcome.Conflict || _promises.Deleting.Contains(key),
                    () => $"{key} is {conflict.Outcome}\n{_cluster.Story(key.ToString())}");
                break;
            case 4 when submission.Session is { } session && _random.Next(3) == 0:
                var of = new SessionKey(key.Tenant, session);
                _promises.DeletingSessions.Add(of);
                _promises.Deleting.UnionWith(_sessions[of]);
                _cluster.Note($"{of} is being deleted");
                while (!await AgainAsync(() => _cluster.Grains.Session(of).DeleteAsync()))
                {
                }

                break;
        }
    }

    private async Task WatchAsync(GenerationKey key)
    {
        var heard = new List<GenerationEvent>();
        EventNumber after = EventNumber.Before;
        while (heard.Count == 0 || !heard[^1].IsLast)
        {
            try
            {
                await foreach (GenerationEvent one in _cluster.Grains.Generation(key).WatchAsync(after))
                {
                    heard.Add(one);
                    after = one.Number;
                }

                if (_promises.Deleting.Contains(key))
                {
                    return;
                }
            }
            catch (Exception error) when (GrainCalls.IsBrokenWatch(error))
            {
            }

            await _cluster.DelayAsync(TimeSpan.FromMilliseconds(200));
        }

        _promises.CheckEvents(key, heard);
    }

    // Nothing is open, nothing waits, and no worker has anything left to report: it waits for 2.5 s after a blob store
    // that did not answer.
    private async Task<bool> IsQuietAsync()
    {
        for (int i = 0; i < _cluster.Options.OpenSet.Partitions; i++)
        {
            for (int j = 0; j < Tenants; j++)
            {
                (int partition, TenantId tenant) = (i, Tenant(j));
                if (await AgainAsync(() => _cluster.Grains.GetGrain<IOpenSetGrain>(partition).OfAsync(tenant))
                    is { Length: > 0 })
                {
                    return false;
                }
            }
        }

        return _cluster.Silos.TrueForAll(silo => !silo.IsAlive || silo.Worker is not { Status.Held: > 0 })
            && await AgainAsync(() => _cluster.Grains.WorkQueue().StatusAsync()) is { Waiting: 0, Leased: 0 };
    }

    private async Task<bool> IsNothingCountedAsync()
    {
        for (int i = 0; i < Tenants; i++)
        {
            if ((await CountsAsync(Tenant(i))).Open > 0)
            {
                return false;
            }
        }

        return true;
    }

    // Computed evaluations are counted whatever died, unless a silo that was cut off admitted the generation; and
    // nothing else is counted if nothing died and no state was refused.
    private async Task CheckCountsAsync()
    {
        bool isExact = _faults == s_mild && _counts.Kills == 0;
        for (int i = 0; i < Tenants; i++)
        {
            TenantId tenant = Tenant(i);
            long counted = (await CountsAsync(tenant)).EvaluationsToday;
            long computed = _promises.Computed.Where(one => one.Key.Tenant == tenant).Sum(one => one.Value);
            _counts.Exact += isExact ? 1 : 0;
            Hold(
                (counted >= computed || _counts.Parted > 0) && (!isExact || counted == computed),
                () => $"{tenant} is charged for {counted} evaluations, not {computed}\n{_cluster.Story(null)}");
        }
    }

    private async Task<TenantView> CountsAsync(TenantId tenant) =>
        (await AgainAsync(() => _cluster.Grains.Tenant(tenant).ViewAsync()))!;

    // A session's history contains each of its accepted generations once. A silo that was cut off may have written
    // without an activation's knowledge; the activation shows what it knows until it leaves memory.
    private async Task CheckSessionsAsync()
    {
        _cluster.Activations.ToList().ForEach(one => one.Deactivate());
        foreach ((SessionKey session, List<GenerationKey> accepted) in _sessions)
        {
            HistoryPage page = await AgainAsync(() => _cluster.Grains.Session(session).HistoryAsync(0, 100));
            GenerationKey[] shown = [.. page.Items.Select(one => one.Key)];
            GenerationKey[] expected = [.. accepted.Where(key => !_promises.Deleting.Contains(key))];
            bool isRight = _promises.DeletingSessions.Contains(session)
                ? shown.Length == 0
                : shown.Length == expected.Length && shown.ToHashSet().SetEquals(expected);
            Hold(
                isRight,
                () =>
                    $"{session} shows {string.Join(' ', shown)}, not "
                    + $"{string.Join(' ', expected)}\n{_cluster.Story(null)}");
        }
    }

    // Retention passes, in steps that a partition's clock counts; then nothing is left. No worker is needed.
    private void Forget()
    {
        SimulatedSilo[] workers = [.. _cluster.Silos.Where(silo => silo.IsAlive)];
        _cluster.Boot("silo9", null);
        Array.ForEach(workers, _cluster.Kill);
        TimeSpan step = TimeSpan.FromSeconds(110);
        TimeSpan last = _cluster.Time.Now + _cluster.Options.Retention.Generations + TimeSpan.FromHours(9);
        string[] Kept() =>
        [
            .. _cluster.Store.States.Keys.Where(
                key => key.Split('/')[0] is "generation" or "endedlist" or "session" or "sessionpage" or "sessionlist"),
        ];
        while (Kept().Length > 0 && _cluster.Time.Now < last)
        {
            _cluster.Time.Stall(step);
            _cluster.Time.Run(() => false, TimeSpan.FromSeconds(0.3));
        }

        _cluster.Check();
        Hold(Kept().Length == 0, () => $"Retention has left {string.Join(' ', Kept())}\n{_cluster.Story(null)}");
        _promises.CheckBlobs();
    }

    private void Await(Func<bool> condition, TimeSpan limit, Func<string> fault)
    {
        TimeSpan next = default;
        bool IsOver()
        {
            // Not at every event: it costs more than the event.
            bool looks = _cluster.Time.Now >= next;
            next = looks ? _cluster.Time.Now + TimeSpan.FromMilliseconds(20) : next;
            return looks && (condition() || _cluster.Fault is not null || _clients.Exists(one => one.IsFaulted));
        }

        bool isTrue = _cluster.Time.Run(IsOver, limit);
        _cluster.Check();
        Rethrow(_clients);
        Hold(isTrue, fault);
    }

    private static void Rethrow(List<Task> tasks) => tasks.Find(one => one.IsFaulted)?.GetAwaiter().GetResult();

    // A call whose outcome is unknown is repeated, as every client of this API does.
    private async Task<T> AgainAsync<T>(Func<Task<T>> call)
    {
        while (true)
        {
            try
            {
                return await call();
            }
            catch (Exception error) when (GrainCalls.IsTransient(error))
            {
                await _cluster.DelayAsync(TimeSpan.FromSeconds(0.1 + _random.NextDouble()));
            }
        }
    }

    private static TenantId Tenant(int number) => new($"t{number}");
}
