// Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598).
using static TorchSharp.torch;

namespace Atelier.Model.Diffusion;

/// <summary>
/// Leads a prediction towards its prompt: uncond + scale (cond - uncond), Eq. 6 of the paper in the form the reference
/// uses, in which a scale of 1 is no guidance.
/// </summary>
public static class Guidance
{
    /// <summary>Guides one number.</summary>
    public static double Combine(double conditional, double unconditional, double scale) =>
        unconditional + (scale * (conditional - unconditional));

    /// <summary>Guides every number of a tensor.</summary>
    public static Tensor Combine(Tensor conditional, Tensor unconditional, double scale) =>
        unconditional + (scale * (conditional - unconditional));
}
