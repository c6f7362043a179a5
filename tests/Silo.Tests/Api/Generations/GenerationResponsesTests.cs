// Goal: a generation's place in the queue is reported in numbers for people. Method: the response of a view.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Silo.Api.Generations;
using Atelier.Silo.Tests.Devices;
using Xunit;

namespace Atelier.Silo.Tests.Api.Generations;

public sealed class GenerationResponsesTests
{
    [Theory]
    [InlineData(1.26, 1.3)]
    [InlineData(12.04, 12.0)]
    [InlineData(null, null)]
    public void TheWait_IsRoundedToATenthOfASecond(double? seconds, double? reported)
    {
        var view = new GenerationView
        {
            Key = new GenerationKey(new TenantId("tenant"), new GenerationId("g")),
            Submission = new Submission { Spec = TinyModels.Spec(TinyModels.First) },
            Phase = GenerationPhase.QueuedDenoise,
            AcceptedAt = DateTimeOffset.UnixEpoch,
            Place = new QueuePlace(3, seconds is { } wait ? TimeSpan.FromSeconds(wait) : null),
        };
        GenerationResponse response = GenerationResponse.Of(view);
        Assert.Equal((3, reported), (response.Position, response.WaitSeconds));
    }
}
