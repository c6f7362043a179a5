// The options of preemption notices.
using Atelier.Configuration;

namespace Atelier.Silo.Hosting.Preemption;

/// <summary>Clouds whose notices a silo can read.</summary>
public enum PreemptionProvider
{
    /// <summary>The silo reads no notices.</summary>
    None,

    /// <summary>Azure's scheduled events.</summary>
    Azure,

    /// <summary>AWS's instance actions of spot instances.</summary>
    Aws,

    /// <summary>Google Cloud's preempted flag.</summary>
    Gcp,
}

/// <summary>
/// Notice that the silo's node will be taken. The silo then takes no more work, hands over what it holds, and stops.
/// </summary>
[Section("Preemption")]
public sealed record PreemptionOptions
{
    /// <summary>Gets the cloud whose notices the silo reads. With none, it reacts to SIGTERM only.</summary>
    /// <remarks>On a node of another cloud, each poll fails, which is logged once.</remarks>
    /// <value>The default is none.</value>
    public PreemptionProvider Provider { get; init; }

    /// <summary>Gets the URL of the cloud's metadata service.</summary>
    /// <value>
    /// The default is the provider's own address: http://169.254.169.254, or http://metadata.google.internal.
    /// </value>
    public string? Endpoint { get; init; }

    /// <summary>Gets the time between two polls.</summary>
    /// <remarks>
    /// It is lost from the time that the notice leaves: 30 s on Azure and Google Cloud, 2 min on AWS.
    /// </remarks>
    /// <value>The default is 1 second.</value>
    [Bounds("00:00:00.010", "00:01:00")]
    public TimeSpan Period { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Gets how long a poll may take.</summary>
    /// <remarks>A silo starts only after its first poll, which may take this long.</remarks>
    /// <value>The default is 5 seconds.</value>
    [Bounds("00:00:00.010", "00:01:00")]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The URL of the metadata service.</summary>
    public Uri Address() => new(Endpoint ?? (Provider == PreemptionProvider.Gcp
        ? "http://metadata.google.internal" : "http://169.254.169.254"));
}

/// <summary>Validates the options of preemption notices.</summary>
internal sealed class PreemptionOptionsValidator : OptionsValidator<PreemptionOptions>
{
    protected override IEnumerable<string> Faults(PreemptionOptions options)
    {
        if (options.Endpoint is { } endpoint && !(Uri.TryCreate(endpoint, UriKind.Absolute, out Uri? address)
            && (address.Scheme == Uri.UriSchemeHttp || address.Scheme == Uri.UriSchemeHttps)))
        {
            yield return $"{Key(nameof(options.Endpoint))} is {endpoint}; it must be a URL such as "
                + "http://169.254.169.254.";
        }
    }
}
