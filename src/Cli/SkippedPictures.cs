// What the command line says of pictures that no training data could be made of.
using Atelier.Model.Data;

namespace Atelier.Cli;

internal static class SkippedPictures
{
    private const int NamedMax = 20;

    /// <summary>Names the first pictures that were skipped, and the file that lists all.</summary>
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
