// The sampler of traces. A worker takes a turn at the queue twice a second, and a gateway asks for the silos every
// second: calls that no request caused would fill the trace store with traces of one call.
using System.Diagnostics;
using OpenTelemetry.Trace;

namespace Atelier.ServiceDefaults;

/// <summary>Samples all traces that begin with a request or with the work on a generation.</summary>
internal sealed class RequestSampler : Sampler
{
    /// <inheritdoc/>
    public override SamplingResult ShouldSample(in SamplingParameters samplingParameters) => new(
        samplingParameters.Kind == ActivityKind.Client ? SamplingDecision.Drop : SamplingDecision.RecordAndSample);
}
