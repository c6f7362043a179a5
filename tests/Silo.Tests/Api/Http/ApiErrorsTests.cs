// Goal: the ways in which a generation ends without a picture are distinguished by status and code. Method: the mapping
// itself.
using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Http;
using Xunit;

namespace Atelier.Silo.Tests.Api.Http;

public sealed class ApiErrorsTests
{
    [Theory]
    [InlineData(GenerationError.WorkerLost, 500, "worker_lost")]
    [InlineData(GenerationError.InvalidRequest, 400, "invalid_request")]
    [InlineData(GenerationError.ModelRetired, 500, "model_retired")]
    public void FailedGeneration_IsReportedByStatusAndCode(GenerationError error, int status, string code)
    {
        var end = new GenerationEvent
        {
            Number = new EventNumber((int)GenerationPhase.Done, 0), Phase = GenerationPhase.Failed, Error = error,
            Message = "Why.",
        };
        ApiError told = ApiError.Of(end);
        Assert.Equal((status, code, "Why."), (told.Status, told.Code, told.Message));
        Assert.NotEqual(true, told.ShouldRetry);
    }
}
