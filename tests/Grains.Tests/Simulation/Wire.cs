// Whatever leaves a process is serialized by production's serializer: nothing is shared by accident, and nothing is
// sent that a silo could not send. Most seeds use Orleans' copier instead, as calls within a silo do: it is faster.
using System.Collections.Concurrent;
using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Concurrency;
using Orleans.Serialization;

namespace Atelier.Grains.Tests.Simulation;

/// <summary>Values as bytes.</summary>
internal static class Wire
{
    private static readonly ServiceProvider s_services = new ServiceCollection().AddSerializer().BuildServiceProvider();
    private static readonly Serializer s_serializer = s_services.GetRequiredService<Serializer>();
    private static readonly DeepCopier s_copier = s_services.GetRequiredService<DeepCopier>();

    private static readonly ConcurrentDictionary<Type, Type> s_errors = new();

    public static byte[] Write<T>(T value) => s_serializer.SerializeToArray(value);

    public static T Read<T>(byte[] bytes) => s_serializer.Deserialize<T>(bytes)!;

    public static T Copy<T>(T value) => s_copier.Copy(value)!;

    /// <summary>
    /// An error as its caller receives it. One of each type is serialized: an error's stack would take longer than
    /// everything else.
    /// </summary>
    public static Exception Cross(Exception error)
    {
        Type type = s_errors.GetOrAdd(error.GetType(), _ => Read<Exception>(Write(error)).GetType());
        return (Exception)Activator.CreateInstance(type, error.Message)!;
    }
}

/// <summary>A value in transit: nobody else holds it.</summary>
internal readonly struct Parcel
{
    private readonly byte[]? _bytes;
    private readonly object? _copy;

    private Parcel(byte[]? bytes, object? copy) => (_bytes, _copy) = (bytes, copy);

    public static Parcel Of<T>(T value, bool asBytes) =>
        asBytes ? new(Wire.Write(value), null) : new(null, Wire.Copy(value));

    public T Open<T>() => _bytes is null ? (T)_copy! : Wire.Read<T>(_bytes);
}

/// <summary>A grain call from its caller's side.</summary>
internal abstract class Answer
{
    public abstract Task Task { get; }

    public bool IsOver => Task.IsCompleted;

    public abstract void Give(Parcel result);

    public abstract void Fail(Exception error);
}

/// <summary>Properties of a method of a grain interface.</summary>
internal abstract class GrainMethod
{
    private static readonly ConcurrentDictionary<MethodInfo, GrainMethod> s_known = new();
    private readonly MethodInfo _method;

    protected GrainMethod(MethodInfo method)
    {
        _method = method;
        IsOneWay = method.IsDefined(typeof(OneWayAttribute));
        Interleaves = method.IsDefined(typeof(AlwaysInterleaveAttribute));
        IsReadOnly = method.IsDefined(typeof(ReadOnlyAttribute));
    }

    public string Name => _method.Name;

    /// <summary>Whether no caller waits for its end.</summary>
    public bool IsOneWay { get; }

    /// <summary>Whether it may start while another call is running.</summary>
    public bool Interleaves { get; }

    /// <summary>Whether it may start while other calls of its kind are running.</summary>
    public bool IsReadOnly { get; }

    public static GrainMethod Of(MethodInfo method) => s_known.GetOrAdd(method, static one =>
    {
        Type result = one.ReturnType.IsGenericType ? one.ReturnType.GetGenericArguments()[0] : typeof(object);
        return (GrainMethod)Activator.CreateInstance(typeof(Typed<>).MakeGenericType(result), one)!;
    });

    public Task InvokeAsync(object grain, object?[] arguments)
    {
        try
        {
            return (Task)_method.Invoke(grain, BindingFlags.DoNotWrapExceptions, null, arguments, null)!;
        }
        catch (Exception error)
        {
            return Task.FromException(error);
        }
    }

    public abstract Answer NewAnswer();

    public abstract Parcel ResultOf(Task done, bool asBytes);

    private sealed class Typed<T>(MethodInfo method) : GrainMethod(method)
    {
        private readonly bool _isVoid = method.ReturnType == typeof(Task);

        public override Answer NewAnswer() => new TypedAnswer(_isVoid);

        public override Parcel ResultOf(Task done, bool asBytes) =>
            _isVoid ? default : Parcel.Of(((Task<T>)done).Result, asBytes);

        private sealed class TypedAnswer(bool isVoid) : Answer
        {
            private readonly TaskCompletionSource<T> _task = new();

            public override Task Task => _task.Task;

            public override void Give(Parcel result) => _task.TrySetResult(isVoid ? default! : result.Open<T>());

            public override void Fail(Exception error) => _task.TrySetException(error);
        }
    }
}
