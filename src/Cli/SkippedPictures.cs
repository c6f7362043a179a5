// Reports pictures that could not be encoded into training data.
using Atelier.Model.Data;

namespace Atelier.Cli;

internal static class SkippedPictures
{
    private const int NamedMax = 20;

    /// <summary>Reports the first skipped pictures, and the file that lists all of them.</summary>
    public static void Report(IReadOnlyList<SkippedPicture> skipped, string folder)
    {
        foreach (SkippedPicture picture in skipped.Take(NamedMax))
        {
            Output.Remark($"picture {picture.Picture} is skipped: its {picture.Column} would hold {picture.Value}");
        }

        if (skipped.Count > 0)
        {
            string list = Path.Combine(folder, Precompute.SkippedFile);
            Output.Remark($"{skipped.Count} pictures are skipped; {list} lists them");
        }
    }
}
