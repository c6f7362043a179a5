// What a ScaledObject says about its pool: the metadata of its trigger, all of them texts.
using System.Globalization;
using Atelier.Contracts;
using Atelier.Contracts.Scaling;
using Atelier.Silo.Scaling.Keda;
using Grpc.Core;

namespace Atelier.Silo.Scaling;

/// <summary>Reads the bounds of a pool from the metadata of a trigger.</summary>
internal static class ScalerMetadata
{
    private const int SilosMax = 10_000;
    private static readonly TimeSpan s_timeMax = TimeSpan.FromDays(1);

    /// <summary>The name of a pool and its bounds.</summary>
    /// <exception cref="RpcException">
    /// InvalidArgument: a key is missing, is not in its range, or contradicts another one.
    /// </exception>
    public static (string Pool, PoolBounds Bounds) Read(ScaledObjectRef request)
    {
        string name = Text(request, "pool");
        if (!Names.AreValid(name))
        {
            throw Invalid($"pool is '{name}'; it must be the Silo:Pool of the pool's silos: {Names.Rule}.");
        }

        string[] roles = Text(request, "roles").Split(',', StringSplitOptions.TrimEntries);
        if (roles.Except(["inference", "training"]).FirstOrDefault() is { } role)
        {
            throw Invalid($"roles has '{role}'; it must be inference, training, or both, separated by a comma.");
        }

        var bounds = new PoolBounds
        {
            Minimum = Number(request, "minimum"), Maximum = Number(request, "maximum"),
            TargetWait = Time(request, "targetWait"), ColdStart = Time(request, "coldStart"),
            Serves = roles.Contains("inference"), Trains = roles.Contains("training"),
        };
        return bounds.Minimum <= bounds.Maximum && bounds.Maximum > 0
            ? (name, bounds)
            : throw Invalid(
                $"minimum is {bounds.Minimum} and maximum is {bounds.Maximum}; maximum must be at least 1, and minimum "
                + "must not exceed it.");
    }

    private static int Number(ScaledObjectRef request, string key) =>
        int.TryParse(Text(request, key), NumberStyles.None, CultureInfo.InvariantCulture, out int number)
        && number <= SilosMax
            ? number
            : throw Invalid($"{key} is '{Text(request, key)}'; it must be a whole number from 0 to {SilosMax}.");

    private static TimeSpan Time(ScaledObjectRef request, string key) =>
        TimeSpan.TryParseExact(Text(request, key), "c", CultureInfo.InvariantCulture, out TimeSpan time)
        && time > TimeSpan.Zero && time <= s_timeMax
            ? time
            : throw Invalid($"{key} is '{Text(request, key)}'; it must be a time up to a day, such as 00:01:30.");

    private static string Text(ScaledObjectRef request, string key) =>
        request.ScalerMetadata.TryGetValue(key, out string? text) && text.Length > 0
            ? text
            : throw Invalid(
                $"The trigger's metadata has no {key}; it must have pool, roles, minimum, maximum, targetWait and "
                + "coldStart.");

    private static RpcException Invalid(string message) => new(new Status(StatusCode.InvalidArgument, message));
}
