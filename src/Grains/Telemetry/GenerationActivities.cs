// The trace of a generation. Its submission is a part of a request's trace, which the state keeps and every claim hands
// to its worker, so that the work on whatever silo belongs to the same trace. Without a listener nothing is made.
using System.Diagnostics;
using Atelier.Contracts;
using Atelier.Contracts.Queueing;

namespace Atelier.Grains.Telemetry;

/// <summary>Activities over a generation's life.</summary>
internal static class GenerationActivities
{
    public const string Submit = "generation.submit";
    public const string Claim = "generation.claim";

    private static readonly ActivitySource s_source = new("Atelier.Generations");

    /// <summary>Begins an activity within the current one; null if nobody listens.</summary>
    public static Activity? Begin(string name, GenerationKey generation) =>
        Tagged(s_source.StartActivity(name), generation);

    /// <summary>Begins an activity within a trace that came from elsewhere; null if nobody listens.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="generation">The generation.</param>
    /// <param name="parent">The parent as W3C's traceparent; null begins a trace of its own.</param>
    public static Activity? Begin(string name, GenerationKey generation, string? parent) =>
        !s_source.HasListeners() ? null
        : ActivityContext.TryParse(parent, null, isRemote: true, out ActivityContext context)
            ? Tagged(s_source.StartActivity(name, ActivityKind.Internal, context), generation)
        : Begin(name, generation);

    /// <summary>The name of the activity of a lease: one for all steps of a picture under it.</summary>
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
