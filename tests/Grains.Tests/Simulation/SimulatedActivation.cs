// An activation: a real grain with its real stored states, and Orleans' turns around it. Calls wait for the current
// one, except for those that interleave; a deactivating grain finishes its calls first and forwards those that wait.
using System.Reflection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Concurrency;
using Orleans.Core;
using Orleans.Timers;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>A call in progress.</summary>
internal sealed class Request(
    SimulatedSilo origin, GrainId grain, GrainMethod method, Parcel arguments, TimeSpan expiresAt)
{
    public SimulatedSilo Origin => origin;

    public GrainId Grain => grain;

    public GrainMethod Method => method;

    public TimeSpan ExpiresAt => expiresAt;

    public Answer Answer { get; } = method.NewAnswer();

    /// <summary>How its answer is sent.</summary>
    public Fate Fate { get; set; }

    public int Forwards { get; set; }

    public Task InvokeAsync(Grain instance) => method.InvokeAsync(instance, arguments.Open<object?[]>());
}

internal sealed class SimulatedActivation : IGrainContext, IGrainRuntime, ITimerRegistry, IServiceProvider
{
    private readonly SimulatedCluster _cluster;
    private readonly GrainClass _class;
    private readonly List<Turn> _waiting = [];
    private readonly List<IDisposable> _timers = [];
    private readonly List<ISimulatedState> _states = [];
    private Grain? _grain;
    private Turn? _blocking;
    private int _running;
    private bool _isReady;
    private bool _isLeaving;

    public SimulatedActivation(SimulatedCluster cluster, SimulatedSilo silo, GrainId id, GrainClass grainClass)
    {
        (_cluster, Silo, GrainId, _class) = (cluster, silo, id, grainClass);
        Context = new SimulatedContext(cluster.Time, silo, this);
        Context.Post(() => _ = ActivateAsync());
    }

    public SimulatedSilo Silo { get; }

    public SimulatedContext Context { get; }

    public GrainId GrainId { get; }

    public Type Type => _class.Type;

    /// <summary>Whether it accepts no more calls.</summary>
    public bool IsGone { get; private set; }

    /// <summary>Called when it is gone: its streams break.</summary>
    public List<Action> Leaving { get; } = [];

    public Grain Instance => _grain!;

    /// <summary>Its current action, for messages.</summary>
    public string Doing =>
        $"{GrainId} on {Silo.Name} does {_blocking?.Request?.Method.Name ?? "nothing"}, {_waiting.Count} wait"
        + (_isLeaving ? ", leaves" : "");

    /// <summary>Receives a call.</summary>
    public void Receive(Request request)
    {
        if (IsGone)
        {
            _cluster.Forward(request);
            return;
        }

        Enqueue(new Turn(request.Method.Interleaves, request.Method.IsReadOnly, request, () => InvokeAsync(request)));
    }

    /// <summary>Runs something that interleaves, such as moves of a stream.</summary>
    public void Interleave(Func<Task> action) => Enqueue(new Turn(true, false, null, action) { IsStream = true });

    /// <summary>Leaves memory once its calls have ended.</summary>
    public void Deactivate()
    {
        if (!_isLeaving)
        {
            _isLeaving = true;
            Context.Post(LeaveIfIdle);
        }
    }

    private async Task ActivateAsync()
    {
        try
        {
            _grain = _class.Make(this);
            foreach (ISimulatedState state in _states)
            {
                await state.ReadStateAsync();
            }

            await _grain.OnActivateAsync(CancellationToken.None);
            _isReady = true;
            LeaveIfIdle();
            Pump();
        }
        catch (Exception error)
        {
            IsGone = true;
            SimulatedCluster.Forget(this);
            _waiting.ForEach(turn => turn.Fail(_cluster, this, error));
            Leaving.ForEach(leave => leave());
        }
    }

    private void Enqueue(Turn turn)
    {
        _waiting.Add(turn);
        Context.Post(Pump);
    }

    private void Pump()
    {
        for (int i = 0; _isReady && !_isLeaving && i < _waiting.Count;)
        {
            Turn turn = _waiting[i];
            bool interleaves = turn.Interleaves || _class.IsReentrant
                || (turn.IsReadOnly && _blocking?.IsReadOnly == true);
            if (_blocking is not null && !interleaves)
            {
                i++;
                continue;
            }

            _waiting.RemoveAt(i);
            if (turn.Request is not { } request || request.ExpiresAt > _cluster.Time.Now)
            {
                _ = RunAsync(turn, interleaves);
            }
        }
    }

    private async Task RunAsync(Turn turn, bool interleaves)
    {
        _running += turn.IsStream ? 0 : 1;
        _blocking = interleaves ? _blocking : turn;
        await turn.RunAsync();
        _running -= turn.IsStream ? 0 : 1;
        _blocking = _blocking == turn ? null : _blocking;
        LeaveIfIdle();
        Pump();
    }

    private async Task InvokeAsync(Request request)
    {
        Task call = Task.CompletedTask;
        try
        {
            if (_grain is IIncomingGrainCallFilter filter)
            {
                await filter.Invoke(Workers.GrainProxy.Make<IIncomingGrainCallContext>(
                    (method, _) =>
                        method.Name == nameof(IGrainCallContext.Invoke) ? call = request.InvokeAsync(_grain) : null));
            }
            else
            {
                await (call = request.InvokeAsync(_grain!));
            }

            Parcel result = request.Method.ResultOf(call, _cluster.SendsBytes);
            _cluster.Answer(request, this, answer => answer.Give(result));
        }
        catch (Exception error)
        {
            Exception crossed = Wire.Cross(error);
            _cluster.Answer(request, this, answer => answer.Fail(crossed));
        }
    }

    private void LeaveIfIdle()
    {
        if (_isLeaving && _running == 0 && !IsGone && _isReady)
        {
            _isReady = false;
            _ = LeaveAsync();
        }
    }

    private async Task LeaveAsync()
    {
        try
        {
            var reason = new DeactivationReason(DeactivationReasonCode.ApplicationRequested, "");
            await _grain!.OnDeactivateAsync(reason, CancellationToken.None);
        }
        catch (Exception error) when (GrainCalls.IsTransient(error))
        {
            // Orleans logs it.
        }

        IsGone = true;
        _timers.ForEach(timer => timer.Dispose());
        SimulatedCluster.Forget(this);
        Leaving.ForEach(leave => leave());
        foreach (Turn turn in _waiting)
        {
            if (turn.Request is { } request)
            {
                _cluster.Forward(request);
            }
        }
    }

    // A task of an activation. Its exceptions go to its caller.
    private sealed record Turn(bool Interleaves, bool IsReadOnly, Request? Request, Func<Task> RunAsync)
    {
        public bool IsStream { get; init; }

        public void Fail(SimulatedCluster cluster, SimulatedActivation activation, Exception error)
        {
            if (Request is { } request)
            {
                var failure = new OrleansException($"{request.Grain} did not start.", error);
                cluster.Answer(request, activation, answer => answer.Fail(failure));
            }
        }
    }

    // The services that a grain asks of Orleans.
    IGrainTimer ITimerRegistry.RegisterGrainTimer<TState>(
        IGrainContext grainContext, Func<TState, CancellationToken, Task> callback, TState state,
        GrainTimerCreationOptions options)
    {
        var timer = new GrainTimer(
            this, async () =>
            {
                try
                {
                    await callback(state, CancellationToken.None);
                }
                catch (Exception error) when (GrainCalls.IsTransient(error))
                {
                    // Orleans logs it and calls again.
                }
            },
            options);
        _timers.Add(timer);
        return timer;
    }

    private sealed class GrainTimer : IGrainTimer
    {
        private readonly ITimer _timer;

        public GrainTimer(SimulatedActivation of, Func<Task> callback, GrainTimerCreationOptions options) =>
            _timer = of.Silo.Clock.CreateTimer(
                _ => of.Enqueue(new Turn(options.Interleave, false, null, async () =>
                {
                    await callback();
                    _timer!.Change(options.Period, Timeout.InfiniteTimeSpan);
                })),
                null, options.DueTime, Timeout.InfiniteTimeSpan);

        public void Change(TimeSpan dueTime, TimeSpan period) => throw new NotSupportedException();

        public void Dispose() => _timer.Dispose();
    }

    void IGrainRuntime.DeactivateOnIdle(IGrainContext grainContext) => Deactivate();

    void IGrainRuntime.DelayDeactivation(IGrainContext grainContext, TimeSpan timeSpan)
    {
    }

    ITimerRegistry IGrainRuntime.TimerRegistry => this;

    IServiceProvider IGrainRuntime.ServiceProvider => this;

    IServiceProvider IGrainContext.ActivationServices => this;

    IGrainFactory IGrainRuntime.GrainFactory => Silo.Grains;

    TimeProvider IGrainRuntime.TimeProvider => Silo.Clock;

    string IGrainRuntime.SiloIdentity => Silo.Name;

    SiloAddress IGrainRuntime.SiloAddress => Silo.Address;

    IStorage<TState> IGrainRuntime.GetStorage<TState>(IGrainContext grainContext) => throw new NotSupportedException();

    IDisposable ITimerRegistry.RegisterTimer(
        IGrainContext grainContext, Func<object?, Task> callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        throw new NotSupportedException();

    public object? GetService(Type serviceType) => serviceType switch
    {
        _ when serviceType == typeof(IGrainRuntime) || serviceType == typeof(ITimerRegistry) => this,
        _ when serviceType.IsGenericType && serviceType.GetGenericTypeDefinition() == typeof(ILogger<>) =>
            typeof(NullLogger<>).MakeGenericType(serviceType.GenericTypeArguments).GetField("Instance")!.GetValue(null),
        _ => Silo.Service(serviceType),
    };

    /// <summary>The argument for a constructor's parameter.</summary>
    public object Argument(ParameterInfo parameter)
    {
        if (parameter.GetCustomAttribute<PersistentStateAttribute>() is not { } attribute)
        {
            return GetService(parameter.ParameterType)
                ?? throw new InvalidOperationException(
                    $"The simulation has no {parameter.ParameterType} for {_class.Type.Name}.");
        }

        Type type = typeof(SimulatedState<>).MakeGenericType(parameter.ParameterType.GenericTypeArguments);
        object state = Activator.CreateInstance(type, _cluster.Store, Silo, $"{GrainId}/{attribute.StateName}")!;
        _states.Add((ISimulatedState)state);
        return state;
    }

    object? IGrainContext.GrainInstance => _grain;

    public bool Equals(IGrainContext? other) => ReferenceEquals(this, other);

    GrainReference IGrainContext.GrainReference => throw new NotSupportedException();

    ActivationId IGrainContext.ActivationId => throw new NotSupportedException();

    GrainAddress IGrainContext.Address => throw new NotSupportedException();

    IGrainLifecycle IGrainContext.ObservableLifecycle => throw new NotSupportedException();

    IWorkItemScheduler IGrainContext.Scheduler => throw new NotSupportedException();

    Task IGrainContext.Deactivated => throw new NotSupportedException();

    object? Orleans.Serialization.Invocation.ITargetHolder.GetTarget() => _grain;

    object? Orleans.Serialization.Invocation.ITargetHolder.GetComponent(Type componentType) => null;

    void IGrainContext.SetComponent<TComponent>(TComponent? value)
        where TComponent : class => throw new NotSupportedException();

    void IGrainContext.ReceiveMessage(object message) => throw new NotSupportedException();

    void IGrainContext.Activate(Dictionary<string, object>? requestContext, CancellationToken cancellationToken) =>
        throw new NotSupportedException();

    void IGrainContext.Deactivate(DeactivationReason deactivationReason, CancellationToken cancellationToken) =>
        Deactivate();

    void IGrainContext.Rehydrate(IRehydrationContext context) => throw new NotSupportedException();

    void IGrainContext.Migrate(Dictionary<string, object>? requestContext, CancellationToken cancellationToken) =>
        throw new NotSupportedException();
}

/// <summary>A class of grains.</summary>
internal sealed class GrainClass
{
    private static readonly Dictionary<Type, GrainClass> s_classes = typeof(GrainCalls).Assembly.GetTypes()
        .Where(type => type.IsSubclassOf(typeof(Grain)) && !type.IsAbstract)
        .Select(type => new GrainClass(type))
        .ToDictionary(one => one.Interface);

    private static readonly Dictionary<GrainType, GrainClass> s_names = s_classes.Values.ToDictionary(one => one.Name);

    private readonly ConstructorInfo _constructor;
    private readonly ParameterInfo[] _parameters;

    private GrainClass(Type type)
    {
        Type = type;
        Interface = type.GetInterfaces().Single(
            one => one.IsAssignableTo(typeof(IGrain))
                && (one.Assembly == typeof(Contracts.GenerationKey).Assembly || one.Assembly == type.Assembly));
        Name = type.GetCustomAttribute<GrainTypeAttribute>()!.GetGrainType(null!, null!);
        IsReentrant = type.IsDefined(typeof(ReentrantAttribute));
        _constructor = type.GetConstructors().Single();
        _parameters = _constructor.GetParameters();
    }

    public Type Type { get; }

    public Type Interface { get; }

    public GrainType Name { get; }

    public bool IsReentrant { get; }

    public static GrainClass Of(Type type) => s_classes[type];

    public static GrainClass Named(GrainType name) => s_names[name];

    public Grain Make(SimulatedActivation activation) =>
        (Grain)_constructor.Invoke([.. _parameters.Select(activation.Argument)]);

    public GrainId Id(object key) => GrainId.Create(
        Name, key is string text ? IdSpan.Create(text) : GrainIdKeyExtensions.CreateIntegerKey((long)key));
}
