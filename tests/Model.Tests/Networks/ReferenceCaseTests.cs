// Goal: the network, its sampler and its schedules reproduce the reference's numbers, name for name and within its
// tolerances. Method: cases of the reference data through the verifier that `atelier verify` uses.
using Atelier.Cli.Verify;
using Xunit;

namespace Atelier.Model.Tests.Networks;

public sealed class ReferenceCaseTests
{
    // A minimum number of compared values keeps a case that compares nothing from passing.
    [Theory]
    [InlineData("dit/a_mixer", 25)]
    [InlineData("dit/b2_split_multipliers", 25)]
    [InlineData("dit/b_identity_bias", 20)]
    [InlineData("dit/d_pos_interp2", 25)]
    [InlineData("dit/e_moe", 5)]
    [InlineData("dit/e_moe_capacity1", 5)]
    [InlineData("dit/e_moe_ties", 5)]
    [InlineData("dit/e_moe_zero_capacity", 5)]
    [InlineData("dit/f_layernorm", 3)]
    [InlineData("dit/f_timestep_embedder", 3)]
    [InlineData("dit/f_pos_embed", 4)]
    [InlineData("dit/f_mask_lengths", 20)]
    [InlineData("edm/preconditioning", 20)]
    [InlineData("edm/lr_schedule", 20)]
    [InlineData("edm/loss_mask0", 100)]
    [InlineData("edm/loss_mask75", 100)]
    [InlineData("fid/frechet", 8)]
    [InlineData("rng", 10)]
    [InlineData("sampler/analytic_churn", 20)]
    [InlineData("sampler/steps18_cfg5", 5)]
    [InlineData("sampler/steps18_churn", 20)]
    public void Results_AreTheReferences(string topic, int comparedAtLeast)
    {
        CaseResult result = Assert.Single(Verifier.Run(ReferenceData.At(topic)));
        Assert.Empty(result.Failures);
        Assert.True(result.Compared >= comparedAtLeast, $"only {result.Compared} values were compared");
    }

    [Fact]
    public void StateDictsOfThePresets_HaveTheReferencesNamesShapesAndSizes()
    {
        CaseResult[] results = [.. Verifier.Run(ReferenceData.At("dit", "keys_and_shapes"))];
        Assert.Equal(
            [
                "MicroDiT_Tiny_2_latent32", "MicroDiT_XL_2_latent32", "MicroDiT_XL_2_latent64",
                "MicroDiT_XL_2_latent64_16_channels",
            ],
            results.Select(r => r.Name.Split('/')[^1]));
        Assert.All(results, result => Assert.Empty(result.Failures));
    }
}
