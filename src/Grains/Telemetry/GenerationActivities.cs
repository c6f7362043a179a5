// The trace of a generation. The submission is part of its request's trace. The generation's state keeps the trace
// context and every claim passes it to the worker, so that the work belongs to the same trace on any silo. Without a
// listener no activities are created.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Telemetry;

/// <summary>Activities of a generation, from its submission to the end of its work.</summary>
internal static class GenerationActivities
{
    public const string Submit = "generation.submit";
    public const string Claim = "generation.claim";

    private static readonly ActivitySource s_source = new("Atelier.Generations");

    /// <summary>Starts an activity within the current one; null without a listener.</summary>
    public static Activity? Begin(string name, GenerationKey generation) =>
        Tagged(s_source.StartActivity(name), generation);

    /// <summary>Starts an activity within a trace from another process; null without a listener.</summary>
    /// <param name="name">Name of the activity.</param>
    /// <param name="generation">The generation.</param>
    /// <param name="parent">
    /// The parent as a W3C traceparent; if null, the activity starts within the current one.
    /// </param>
    public static Activity? Begin(string name, GenerationKey generation, string? parent) =>
        !s_source.HasListeners() ? null
        : ActivityContext.TryParse(parent, null, isRemote: true, out ActivityContext context)
            ? Tagged(s_source.StartActivity(name, ActivityKind.Internal, context), generation)
        : Begin(name, generation);

    /// <summary>
    /// The name of the activity of a lease. One activity covers all steps of a picture under the lease.
    /// </summary>
    public static string NameOf(WorkKind kind) => kind switch
    {
        WorkKind.Encode => "generation.encode",
        WorkKind.Denoise => "generation.denoise",
        _ => "generation.decode",
    };

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
