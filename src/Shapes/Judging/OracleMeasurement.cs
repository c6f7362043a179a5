// The accuracy of the oracle. It judges true pictures, so each failure is a mistake of the oracle.
using Atelier.Model.Imaging;
using Atelier.Shapes.Captions;
using Atelier.Shapes.Drawing;
using Atelier.Shapes.Scenes;

namespace Atelier.Shapes.Judging;

/// <summary>Measures oracles on true renderings.</summary>
public static class OracleMeasurement
{
    private const int Chunk = 64;

    /// <summary>Measures the fraction of a task's evaluation prompts whose true pictures pass, 0 to 1.</summary>
    /// <param name="oracle">The oracle.</param>
    /// <param name="task">The task, which defines when a picture passes.</param>
    /// <param name="count">
    /// Number of prompts; the first half are seen combinations, the second half held-out ones.
    /// </param>
    /// <param name="side">Side of the pictures in pixels, a multiple of 64.</param>
    /// <param name="seed">Seed of the prompts.</param>
    /// <param name="spoil">Modifies picture number i before it is judged; null for no change.</param>
    public static double Accuracy(
        Oracle oracle, SceneTask task, int count, int side, ulong seed, Func<RgbImage, long, RgbImage>? spoil = null)
    {
        ArgumentNullException.ThrowIfNull(oracle);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        using var renderer = new SceneRenderer();
        IEnumerable<EvaluationPrompt> seen = EvaluationPrompts.Draw(seed, task, heldOut: false, (count + 1) / 2);
        IEnumerable<EvaluationPrompt> heldOut = EvaluationPrompts.Draw(seed, task, heldOut: true, count / 2);
        int passed = 0, number = 0;
        foreach (EvaluationPrompt[] prompts in seen.Concat(heldOut).Chunk(Chunk))
        {
            RgbImage[] images = [.. prompts.Select(prompt => renderer.Render(prompt.Scene, side))];
            for (int i = 0; i < images.Length; i++, number++)
            {
                images[i] = spoil?.Invoke(images[i], number) ?? images[i];
            }

            IReadOnlyList<Perception> perceptions = oracle.Look(images);
            passed += prompts.Zip(perceptions)
                .Count(pair => Judge.Check(pair.First.Caption.Says, pair.Second).Passes(task));
        }

        return (double)passed / count;
    }
}
