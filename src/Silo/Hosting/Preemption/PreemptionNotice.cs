// A notice that the node will be taken, as the three clouds word it.
using System.Globalization;
using System.Text.Json;

namespace Atelier.Silo.Hosting.Preemption;

/// <summary>A notice that the node will be taken.</summary>
/// <param name="Reason">What the cloud says, for an operator.</param>
/// <param name="NotBefore">The earliest time at which the node is taken; null if the cloud does not say.</param>
internal sealed record PreemptionNotice(string Reason, DateTimeOffset? NotBefore)
{
    /// <summary>
    /// Reads Azure's scheduled events. Those of other nodes do not count, nor those that only pause this one.
    /// </summary>
    /// <param name="json">The document of the events, which lists all nodes of a scale set.</param>
    /// <param name="node">Name of this node.</param>
    /// <exception cref="InvalidDataException">The text is not such a document.</exception>
    public static PreemptionNotice? FromAzure(string json, string node) => Read(json, root =>
    {
        PreemptionNotice? first = null;
        foreach (JsonElement one in root.GetProperty("Events").EnumerateArray())
        {
            string type = one.GetProperty("EventType").GetString()!;
            bool isOwn = one.GetProperty("Resources").EnumerateArray().Any(
                name => string.Equals(name.GetString(), node, StringComparison.OrdinalIgnoreCase));
            if (!isOwn || type is not ("Preempt" or "Terminate"))
            {
                continue;
            }

            // An event that has started has no time anymore.
            string? time = one.TryGetProperty(nameof(NotBefore), out JsonElement value) ? value.GetString() : null;
            DateTimeOffset? at = string.IsNullOrEmpty(time)
                ? null : DateTimeOffset.Parse(time, CultureInfo.InvariantCulture);
            if (first is null || at is null || at < first.NotBefore)
            {
                first = new PreemptionNotice($"Azure scheduled event {type}", at);
            }
        }

        return first;
    });

    /// <summary>Reads AWS's instance action, which exists only once a spot instance will be taken.</summary>
    /// <exception cref="InvalidDataException">The text is not an instance action.</exception>
    public static PreemptionNotice? FromAws(string json) => Read(json, root => new PreemptionNotice(
        $"AWS spot instance action {root.GetProperty("action").GetString()}",
        root.GetProperty("time").GetDateTimeOffset()));

    /// <summary>Reads Google Cloud's preempted flag.</summary>
    /// <exception cref="InvalidDataException">The text is neither TRUE nor FALSE.</exception>
    public static PreemptionNotice? FromGcp(string text) => text.Trim() switch
    {
        "TRUE" => new PreemptionNotice("Google Cloud preempts the node", null),
        "FALSE" => null,
        _ => throw new InvalidDataException("The preempted flag is neither TRUE nor FALSE."),
    };

    /// <inheritdoc/>
    public override string ToString() =>
        NotBefore is { } at ? $"{Reason}, not before {at.ToUniversalTime():yyyy-MM-dd HH:mm:ss} UTC" : Reason;

    private static PreemptionNotice? Read(string json, Func<JsonElement, PreemptionNotice?> read)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return read(document.RootElement);
        }
        catch (Exception error)
            when (error is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"The cloud's answer cannot be read: {error.Message}", error);
        }
    }
}
