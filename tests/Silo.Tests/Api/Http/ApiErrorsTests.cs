// Goal: the ways in which a generation ends without a picture are distinguished by status and code. Method: the mapping
// itself.
using Atelier.Contracts.Generations;
using Atelier.Silo.Api.Http;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Atelier.Silo.Tests.Api.Http;

public sealed class ApiErrorsTests
{
    [Theory]
    [InlineData(499, "invalid_request_error")]
    [InlineData(500, "server_error")]
    public void AStatusWithoutAMeaningOfItsOwn_BlamesTheClientOrTheServer(int status, string type)
    {
        ApiError error = ApiError.Of(status, new DefaultHttpContext().Request);
        Assert.Equal((status, type), (error.Status, error.Type));
    }

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
        ApiError reported = ApiError.Of(end);
        Assert.Equal((status, code, "Why."), (reported.Status, reported.Code, reported.Message));
        Assert.NotEqual(true, reported.ShouldRetry);
    }
}
