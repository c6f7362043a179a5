// Drawing pictures on a cluster. Each picture is submitted under an id chosen by this client, so that the request can
// be retried. The client then follows its events and fetches it. On interruption, open generations are cancelled.
using System.Globalization;
using System.Text.Json.Nodes;
using Atelier.Model.Clip;

namespace Atelier.Cli.Cluster;

/// <summary>A request for pictures to a cluster.</summary>
internal sealed record ClusterRequest
{
    /// <summary>Description of the pictures.</summary>
    public required string Prompt { get; init; }

    /// <summary>What the pictures should not show.</summary>
    public string Negative { get; init; } = "";

    /// <summary>The model's name in the cluster; null for the default one.</summary>
    public string? Model { get; init; }

    /// <summary>Seed of the first picture.</summary>
    public ulong Seed { get; init; }

    /// <summary>Steps; null for the model's default.</summary>
    public int? Steps { get; init; }

    /// <summary>Guidance; null for the model's default.</summary>
    public double? Guidance { get; init; }

    /// <summary>Width and height, such as 256x256, or auto.</summary>
    public string Size { get; init; } = "auto";

    /// <summary>The body of the API request for one picture.</summary>
    /// <param name="id">Id of the generation.</param>
    /// <param name="index">Index of the picture, from 0.</param>
    public JsonObject ToJson(string id, int index)
    {
        var body = new JsonObject
        {
            ["id"] = id, ["prompt"] = Prompt, ["negative_prompt"] = Negative, ["seed"] = unchecked(Seed + (ulong)index),
            ["size"] = Size,
        };
        if (Model is not null)
        {
            body["model"] = Model;
        }

        if (Steps is { } steps)
        {
            body["steps"] = steps;
        }

        if (Guidance is { } guidance)
        {
            body["guidance"] = guidance;
        }

        return body;
    }
}

/// <summary>Draws pictures on a cluster.</summary>
/// <param name="client">The cluster.</param>
/// <param name="clock">Source of time.</param>
/// <param name="report">Receives the finished fraction, in [0, 1], and the current state.</param>
internal sealed class ClusterDrawing(ClusterClient client, TimeProvider clock, Action<double, string> report)
{
    private const string Route = "/v1/generations";

    private static readonly TimeSpan s_placePoll = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_cancelPatience = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly HashSet<string> _open = new(StringComparer.Ordinal);
    private double[] _parts = [];

    /// <summary>
    /// Draws all pictures concurrently, and passes each to <paramref name="take"/> as soon as it is finished.
    /// </summary>
    /// <returns>Warnings about truncated prompts.</returns>
    /// <exception cref="UserErrorException">A generation failed; the others are cancelled.</exception>
    public async Task<IReadOnlyList<string>> RunAsync(
        ClusterRequest request, int count, Action<int, byte[]> take, CancellationToken cancellation)
    {
        IReadOnlyList<string> warnings = [];
        _parts = new double[count];
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task[] pictures = [.. Enumerable.Range(0, count).Select(i => OneAsync(i))];
        try
        {
            await Task.WhenAll(pictures);
            return warnings;
        }
        catch
        {
            await CancelOpenAsync();
            cancellation.ThrowIfCancellationRequested();

            // The first failure cancelled the other tasks, whose exceptions only report the cancellation.
            await (pictures.FirstOrDefault(picture => picture.IsFaulted) ?? Task.WhenAll(pictures));
            throw;
        }

        async Task OneAsync(int index)
        {
            try
            {
                string id = Guid.NewGuid().ToString("n", CultureInfo.InvariantCulture);
                take(index, await DrawAsync(request, id, index, failing.Token));
                if (index == 0)
                {
                    warnings = await WarningsAsync(id, failing.Token);
                }
            }
            catch
            {
                await failing.CancelAsync();
                throw;
            }
        }
    }

    private async Task<byte[]> DrawAsync(ClusterRequest request, string id, int index, CancellationToken cancellation)
    {
        Note(id, isOpen: true);
        JsonObject body = request.ToJson(id, index);
        await client.RetryAsync(() => client.CallAsync(HttpMethod.Post, Route, body, cancellation), cancellation);
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task places = FollowPlaceAsync(id, index, waiting.Token);
        try
        {
            await foreach (ClusterEvent one in client.WatchAsync(id, cancellation))
            {
                if (one.Phase is not ("queued_encode" or "encoding" or "queued_denoise"))
                {
                    await waiting.CancelAsync();
                    Report(index, one);
                }

                if (one.IsLast)
                {
                    Note(id, isOpen: false);
                    Check(one);
                }
            }
        }
        finally
        {
            await waiting.CancelAsync();
            await places;
        }

        return await client.RetryAsync(
            () => client.BytesAsync(HttpMethod.Get, $"{Route}/{id}/picture", null, cancellation), cancellation,
            mayBeDown: true);
    }

    // Warnings about prompts that are too long for the text encoder, which ignores their ends. The picture has already
    // arrived, so a failing call does not matter.
    private async Task<IReadOnlyList<string>> WarningsAsync(string id, CancellationToken cancellation)
    {
        try
        {
            JsonNode? view = await client.CallAsync(HttpMethod.Get, $"{Route}/{id}", null, cancellation);
            string?[] warnings =
            [
                Warning(view?["prompt_tokens"], "prompt"),
                Warning(view?["negative_prompt_tokens"], "negative prompt"),
            ];
            return [.. warnings.OfType<string>()];
        }
        catch (Exception error) when (error is ApiRefusalException or HttpRequestException or TimeoutException
            or UserErrorException or InvalidOperationException or FormatException)
        {
            return [];
        }
    }

    private static string? Warning(JsonNode? tokens, string what) => tokens is null
        ? null
        : new TokenCount(
            tokens["given"]!.GetValue<int>(), tokens["used"]!.GetValue<int>(), tokens["cut_at"]?.GetValue<string>())
            .Warning(what);

    private static void Check(ClusterEvent last)
    {
        if (last.Phase != "done")
        {
            throw new UserErrorException(last.Phase == "cancelled"
                ? "The generation was cancelled."
                : $"The generation failed: {last.Failure ?? "the cluster gave no reason."}");
        }
    }

    // The position is polled, because the streams of an earlier release do not have it, and because a stream has it for
    // the first wait of a phase alone.
    private async Task FollowPlaceAsync(string id, int index, CancellationToken cancellation)
    {
        try
        {
            while (true)
            {
                JsonNode? view = await client.CallAsync(HttpMethod.Get, $"{Route}/{id}", null, cancellation);
                if (view?["position"] is JsonValue position)
                {
                    string wait = view["wait_seconds"] is JsonValue seconds
                        ? $", about {seconds.GetValue<double>():0} s"
                        : "";
                    string loading = view["loading_seconds"] is JsonValue ? ", a worker loads the model" : "";
                    Report(index, _parts[index], $"waiting, {position} ahead in the queue{wait}{loading}");
                }

                await Task.Delay(s_placePoll, clock, cancellation);
            }
        }
        catch (Exception error)
            when (error is OperationCanceledException or ApiRefusalException or HttpRequestException or TimeoutException
                or UserErrorException or InvalidOperationException)
        {
            // The position is only for display; DrawAsync notices errors while it follows the events.
        }
    }

    private void Report(int index, ClusterEvent one)
    {
        double part = one.Phase switch
        {
            "done" => 1,
            "queued_decode" or "decoding" => 0.97,
            _ when one.Steps > 0 => 0.97 * one.Step / one.Steps,
            _ => 0,
        };
        Report(
            index, part,
            one.Phase == "denoising"
                ? $"step {one.Step} of {one.Steps}"
                : one.Phase.Replace("queued_decode", "decoding"));
    }

    private void Report(int index, double part, string text)
    {
        lock (_gate)
        {
            _parts[index] = part;
            report(
                _parts.Average(),
                _parts.Length == 1 ? text : $"{_parts.Count(one => one >= 1)} of {_parts.Length} done");
        }
    }

    private void Note(string id, bool isOpen)
    {
        lock (_gate)
        {
            _ = isOpen ? _open.Add(id) : _open.Remove(id);
        }
    }

    // Cancels all open generations, including those whose submission may never have been accepted.
    private async Task CancelOpenAsync()
    {
        string[] open;
        lock (_gate)
        {
            open = [.. _open];
        }

        using var patience = new CancellationTokenSource(s_cancelPatience, clock);
        await Task.WhenAll(open.Select(async id =>
        {
            try
            {
                await client.CallAsync(HttpMethod.Post, $"{Route}/{id}/cancel", null, patience.Token);
            }
            catch (Exception error)
                when (error is OperationCanceledException or ApiRefusalException or HttpRequestException
                    or TimeoutException or UserErrorException)
            {
                // The generation does not exist, or the cluster is unavailable.
            }
        }));
    }
}
