// The sampler of traces. A worker polls the queue twice a second, and a gateway asks for the list of silos every
// second. If such calls, which no request causes, were sampled, they would fill the trace store with traces of a single
// call.
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
