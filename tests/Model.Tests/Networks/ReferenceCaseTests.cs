// Goal: the network, its sampler and its schedules give the reference's numbers, name for name and within its tolerances.
// Method: cases of the reference data, copied as they are, through the same verifier that `atelier verify` runs.
using System.Runtime.CompilerServices;
using Atelier.Cli.Verify;
using Xunit;

namespace Atelier.Model.Tests.Networks;

public sealed class ReferenceCaseTests
{
    // The least number of compared values keeps a case that compares nothing from passing.
    [Theory]
    [InlineData("dit/a_mixer", 25)]
    [InlineData("dit/e_moe", 5)]
    [InlineData("dit/e_moe_capacity1", 5)]
    [InlineData("dit/e_moe_ties", 5)]
    [InlineData("dit/e_moe_zero_capacity", 5)]
    [InlineData("dit/f_layernorm", 3)]
    [InlineData("dit/f_timestep_embedder", 3)]
    [InlineData("dit/f_mask_lengths", 20)]
    [InlineData("edm/preconditioning", 20)]
    [InlineData("edm/lr_schedule", 20)]
    [InlineData("sampler/analytic_churn", 20)]
    [InlineData("sampler/steps18_churn", 20)]
    public void Results_AreTheReferences(string topic, int comparedAtLeast)
    {
        CaseResult result = Assert.Single(Verifier.Run(Path.Combine(Vectors(), topic)));
        Assert.Empty(result.Failures);
        Assert.True(result.Compared >= comparedAtLeast, $"only {result.Compared} values were compared");
    }

    [Fact]
    public void StateDictsOfBothPresets_HaveTheReferencesNamesShapesAndSizes()
    {
        CaseResult[] results = [.. Verifier.Run(Path.Combine(Vectors(), "dit", "keys_and_shapes"))];
        Assert.Equal(["MicroDiT_Tiny_2_latent32", "MicroDiT_XL_2_latent32"], results.Select(r => r.Name.Split('/')[^1]));
        Assert.All(results, result => Assert.Empty(result.Failures));
    }

    private static string Vectors([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "Vectors");
}
