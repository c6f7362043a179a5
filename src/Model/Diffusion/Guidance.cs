// Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).
using static TorchSharp.torch;

namespace Atelier.Model.Diffusion;

/// <summary>
/// Steers a prediction toward its prompt: uncond + scale (cond - uncond), Eq. 6 of the paper in the reference's form,
/// in which a scale of 1 means no guidance.
/// </summary>
public static class Guidance
{
    /// <summary>Guides one element.</summary>
    public static double Combine(double conditional, double unconditional, double scale) =>
        unconditional + (scale * (conditional - unconditional));

    /// <summary>Guides every element of a tensor.</summary>
    public static Tensor Combine(Tensor conditional, Tensor unconditional, double scale) =>
        unconditional + (scale * (conditional - unconditional));
}
