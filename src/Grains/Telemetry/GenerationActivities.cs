// The trace of a generation. The submission is part of its request's trace. The generation's state keeps the trace
// context and every claim passes it to the worker, so that the work and its log events belong to the same trace on any
// silo. Traces that nobody records have activities too, which only carry the ids for the log.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Telemetry;

/// <summary>Activities of a generation, from its submission to the end of its work.</summary>
public static class GenerationActivities
{
    internal const string Submit = "generation.submit";
    internal const string Claim = "generation.claim";

    // Orleans propagates activities under this key, too, if there is a listener to them.
    private const string ContextKey = "traceparent";

    private static readonly ActivitySource s_source = new("Atelier.Generations");

    /// <summary>Passes the current trace to all grains that are called from here on, recorded or not.</summary>
    public static void Propagate()
    {
        if (Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity)
        {
            RequestContext.Set(ContextKey, activity.Id!);
        }
    }

    /// <summary>Starts the activity of a submission within the trace of its request; null if it has none.</summary>
    internal static Activity? BeginSubmit(GenerationKey generation) => Begin(
        Submit, generation, Activity.Current?.Id ?? RequestContext.Get(ContextKey) as string);

    /// <summary>Starts an activity within a trace from another process; null without one.</summary>
    /// <param name="name">Name of the activity.</param>
    /// <param name="generation">The generation.</param>
    /// <param name="parent">The parent as a W3C traceparent; if null, a listener may start a trace here.</param>
    internal static Activity? Begin(string name, GenerationKey generation, string? parent)
    {
        if (!ActivityContext.TryParse(parent, null, isRemote: true, out ActivityContext context))
        {
            return Tagged(s_source.StartActivity(name), generation);
        }

        return s_source.HasListeners()
            && s_source.StartActivity(name, ActivityKind.Internal, context) is { } activity
            ? Tagged(activity, generation) : Unrecorded(name, parent!);
    }

    /// <summary>Makes log events part of a trace until the result is disposed; null if they already are.</summary>
    internal static Activity? Join(string? trace) =>
        ActivityContext.TryParse(trace, null, isRemote: true, out ActivityContext context)
        && Activity.Current?.TraceId != context.TraceId ? Unrecorded("log", trace!) : null;

    /// <summary>
    /// The name of the activity of a lease. One activity covers all steps of a picture under the lease.
    /// </summary>
    internal static string NameOf(WorkKind kind) => kind switch
    {
        WorkKind.Encode => "generation.encode",
        WorkKind.Denoise => "generation.denoise",
        _ => "generation.decode",
    };

    private static Activity Unrecorded(string name, string parent) => new Activity(name).SetParentId(parent).Start();

    private static Activity? Tagged(Activity? activity, GenerationKey generation)
    {
        if (activity is { IsAllDataRequested: true })
        {
            activity.SetTag("atelier.tenant", generation.Tenant.Value);
            activity.SetTag("atelier.generation", generation.Id.Value);
        }

        return activity;
    }
}

/// <summary>Makes an activity the current one until it is disposed; null changes nothing.</summary>
internal readonly struct CurrentActivity : IDisposable
{
    private readonly Activity? _before = Activity.Current;

    public CurrentActivity(Activity? activity) => Activity.Current = activity ?? _before;

    public void Dispose() => Activity.Current = _before;
}
