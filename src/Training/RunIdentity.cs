// The identity of a run: everything, besides its position, that determines the bits of its weights. Checkpoints hold
// the identity as JSON, and a run resumes only from a checkpoint with the same identity.
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Atelier.Training;

/// <summary>
/// The parts of a run's identity. Runs with the same identity and the same position have the same weights, regardless
/// of how many processes, lanes and threads computed them.
/// </summary>
public sealed record RunIdentity
{
    private const string Separator = ", ", Absent = "absent";
    private const int ShownMax = 80;

    private static readonly JsonSerializerOptions s_json = new()
    {
        RespectNullableAnnotations = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    };

    /// <summary>Name of the stage.</summary>
    [JsonPropertyName("stage")]
    public required string Stage { get; init; }

    /// <summary>Architecture of the network, as a JSON object.</summary>
    [JsonPropertyName("network")]
    public required string Network { get; init; }

    /// <summary>Seed of all random numbers.</summary>
    [JsonPropertyName("seed")]
    public required ulong Seed { get; init; }

    /// <summary>Number of samples in a batch, G.</summary>
    [JsonPropertyName("batch")]
    public required int Batch { get; init; }

    /// <summary>Number of shards in a batch, V.</summary>
    [JsonPropertyName("shards")]
    public required int Shards { get; init; }

    /// <summary>Number of threads that compute a shard.</summary>
    [JsonPropertyName("threads_per_shard")]
    public required int ThreadsPerShard { get; init; }

    /// <summary>Name of the precision in which the network computes, with defaults resolved.</summary>
    [JsonPropertyName("precision")]
    public required string Precision { get; init; }

    /// <summary>Fraction of the patches that the backbone does not see.</summary>
    [JsonPropertyName("mask_ratio")]
    public required double MaskRatio { get; init; }

    /// <summary>Name of the data column that holds the latents.</summary>
    [JsonPropertyName("latents_column")]
    public required string LatentColumn { get; init; }

    /// <summary>Number of samples in the data.</summary>
    [JsonPropertyName("samples")]
    public required int Samples { get; init; }

    /// <summary>Digest of the data's index files, in order; empty if the data has none.</summary>
    [JsonPropertyName("data")]
    public required string Data { get; init; }

    /// <summary>
    /// Number of samples of each stream in an epoch; null if every sample of the data occurs once. See
    /// <see cref="StreamMix.Name"/>.
    /// </summary>
    [JsonPropertyName("streams"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Streams { get; init; }

    /// <summary>Version of the sample order; see <see cref="SampleOrder.Version"/>.</summary>
    [JsonPropertyName("order_version")]
    public required int OrderVersion { get; init; }

    /// <summary>
    /// Kind of the device. For a mixed run: all kinds so far, in the order in which the run used them, separated by ",
    /// ".
    /// </summary>
    [JsonPropertyName("device")]
    public required string Device { get; init; }

    /// <summary>
    /// Whether devices of several kinds have trained the run; its bits are then no longer guaranteed.
    /// </summary>
    [JsonIgnore]
    public bool IsMixed => Device.Contains(Separator, StringComparison.Ordinal);

    /// <summary>Reads an identity that <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="JsonException">A part is missing, unknown or of the wrong type.</exception>
    public static RunIdentity Parse(string json) =>
        JsonSerializer.Deserialize<RunIdentity>(json, s_json) ?? throw new JsonException("The identity is null.");

    /// <summary>The identity as a JSON object, in one line.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, s_json);

    /// <summary>Decides whether this run can resume from a checkpoint.</summary>
    /// <param name="stored">Identity of the run that wrote the checkpoint.</param>
    /// <param name="takesOtherDevices">Whether a checkpoint from another kind of device is accepted.</param>
    /// <param name="differences">Why the checkpoint is refused; empty if it is accepted.</param>
    /// <returns>
    /// The identity with which the run resumes, including all kinds of devices that have trained it; null if the
    /// checkpoint is refused.
    /// </returns>
    public RunIdentity? Continue(RunIdentity stored, bool takesOtherDevices, out IReadOnlyList<string> differences)
    {
        RunIdentity own = takesOtherDevices
            ? this with { Device = string.Join(Separator, Kinds(stored).Union(Kinds(this))) }
            : this;
        differences = own.Differences(takesOtherDevices ? stored with { Device = own.Device } : stored);
        return differences.Count == 0 ? own : null;
    }

    /// <summary>
    /// The differences between two identities, part by part, for example "trainer.shards is 8 there and 4 here". A part
    /// that has a configuration key is named by that key.
    /// </summary>
    /// <param name="there">The other identity, for example that of a checkpoint.</param>
    public IReadOnlyList<string> Differences(RunIdentity there)
    {
        Dictionary<string, string> other = there.Parts().ToDictionary(StringComparer.Ordinal),
            own = Parts().ToDictionary(StringComparer.Ordinal);
        return
        [
            .. own.Keys.Union(other.Keys)
                .Select(name => (
                    Name: name, There: other.GetValueOrDefault(name, Absent),
                    Here: own.GetValueOrDefault(name, Absent)))
                .Where(part => part.There != part.Here)
                .Select(part => $"{part.Name} is {Shown(part.There)} there and {Shown(part.Here)} here"),
        ];
    }

    private static string[] Kinds(RunIdentity run) => run.Device.Split(Separator);

    private static string Shown(string value) =>
        value.Length == 0 ? "empty" : value.Length <= ShownMax ? value : value[..ShownMax] + "...";

    private IEnumerable<(string Name, string Value)> Parts()
    {
        yield return ("exp_name", Stage);
        foreach ((string name, string value) in NetworkParts())
        {
            yield return (name, value);
        }

        yield return ("seed", Text(Seed));
        yield return ("dataset.train_batch_size", Text(Batch));
        yield return ("trainer.shards", Text(Shards));
        yield return ("trainer.threads_per_shard", Text(ThreadsPerShard));
        yield return ("model.dtype", Precision);
        yield return ("model.train_mask_ratio", Text(MaskRatio));
        yield return ("dataset.latents_column", LatentColumn);
        yield return ("the number of samples", Text(Samples));
        yield return ("the digest of the data's index files", Data);
        if (Streams is not null)
        {
            yield return ("dataset.train.streams", Streams);
        }

        yield return ("the version of the sample order", Text(OrderVersion));
        yield return ("the kind of device", Device);

        static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
    }

    private (string Name, string Value)[] NetworkParts()
    {
        try
        {
            using JsonDocument network = JsonDocument.Parse(Network);
            return
            [
                .. network.RootElement.EnumerateObject()
                    .DistinctBy(member => member.Name, StringComparer.Ordinal)
                    .Select(member => ($"the network's {member.Name}", member.Value.GetRawText())),
            ];
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            // The checkpoint is damaged; its network differs from every valid one.
            return [("the network", Network)];
        }
    }
}
