// The clouds' metadata services.
using System.Net;

namespace Atelier.Silo.Hosting.Preemption;

/// <summary>Says whether the node will be taken.</summary>
internal interface IPreemptionNotice
{
    /// <summary>Returns the notice that is in effect; null if there is none.</summary>
    /// <exception cref="HttpRequestException">The metadata service did not answer, or refused.</exception>
    /// <exception cref="InvalidDataException">The answer cannot be read.</exception>
    Task<PreemptionNotice?> PollAsync(CancellationToken cancellation);
}

/// <summary>Azure: the scheduled events of the node.</summary>
internal sealed class AzureNotice(HttpClient http) : IPreemptionNotice
{
    private string? _node;

    public async Task<PreemptionNotice?> PollAsync(CancellationToken cancellation)
    {
        _node ??= (await GetAsync("metadata/instance/compute/name?api-version=2021-02-01&format=text", cancellation))
            .Trim();
        return PreemptionNotice.FromAzure(
            await GetAsync("metadata/scheduledevents?api-version=2020-07-01", cancellation), _node);
    }

    private async Task<string> GetAsync(string path, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path) { Headers = { { "Metadata", "true" } } };
        using HttpResponseMessage response = await http.SendAsync(request, cancellation);
        return await response.EnsureSuccessStatusCode().Content.ReadAsStringAsync(cancellation);
    }
}

/// <summary>AWS: the action for a spot instance. A recommendation to rebalance is not a notice.</summary>
internal sealed class AwsNotice(HttpClient http) : IPreemptionNotice
{
    private const string TokenSeconds = "21600";

    private string? _token;

    public async Task<PreemptionNotice?> PollAsync(CancellationToken cancellation)
    {
        HttpResponseMessage response = await AskAsync(cancellation);
        if (response.StatusCode == HttpStatusCode.Unauthorized)
        {
            response.Dispose();
            _token = null; // It has expired.
            response = await AskAsync(cancellation);
        }

        using (response)
        {
            return response.StatusCode == HttpStatusCode.NotFound ? null : PreemptionNotice.FromAws(
                await response.EnsureSuccessStatusCode().Content.ReadAsStringAsync(cancellation));
        }
    }

    private async Task<HttpResponseMessage> AskAsync(CancellationToken cancellation)
    {
        _token ??= await TokenAsync(cancellation);
        using var request = new HttpRequestMessage(HttpMethod.Get, "latest/meta-data/spot/instance-action")
        {
            Headers = { { "X-aws-ec2-metadata-token", _token } },
        };
        return await http.SendAsync(request, cancellation);
    }

    private async Task<string> TokenAsync(CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(HttpMethod.Put, "latest/api/token")
        {
            Headers = { { "X-aws-ec2-metadata-token-ttl-seconds", TokenSeconds } },
        };
        using HttpResponseMessage response = await http.SendAsync(request, cancellation);
        return await response.EnsureSuccessStatusCode().Content.ReadAsStringAsync(cancellation);
    }
}

/// <summary>Google Cloud: the preempted flag. After the first poll, each waits for a change for a while.</summary>
internal sealed class GcpNotice(HttpClient http, TimeSpan timeout) : IPreemptionNotice
{
    private string? _tag;

    public async Task<PreemptionNotice?> PollAsync(CancellationToken cancellation)
    {
        // A change since the last answer has another tag, and is answered at once.
        int seconds = Math.Max(1, (int)(timeout.TotalSeconds / 2));
        string wait = _tag is null ? "" : $"?wait_for_change=true&timeout_sec={seconds}&last_etag={_tag}";
        using var request = new HttpRequestMessage(
            HttpMethod.Get, "computeMetadata/v1/instance/preempted" + wait)
        {
            Headers = { { "Metadata-Flavor", "Google" } },
        };
        using HttpResponseMessage response = await http.SendAsync(request, cancellation);
        string text = await response.EnsureSuccessStatusCode().Content.ReadAsStringAsync(cancellation);
        _tag = response.Headers.TryGetValues("ETag", out IEnumerable<string>? tags)
            ? Uri.EscapeDataString(tags.First()) : null;
        return PreemptionNotice.FromGcp(text);
    }
}
