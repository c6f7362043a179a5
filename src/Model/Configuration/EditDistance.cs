// Which known name a mistyped one is nearest to.
namespace Atelier.Model.Configuration;

/// <summary>The distance of two words by their letters.</summary>
public static class EditDistance
{
    /// <summary>
    /// Levenshtein's distance: the least number of letters to insert, delete or replace that makes one of the other.
    /// </summary>
    public static int Between(string one, string other)
    {
        ArgumentNullException.ThrowIfNull(one);
        ArgumentNullException.ThrowIfNull(other);
        int[] row = [.. Enumerable.Range(0, other.Length + 1)];
        for (int i = 0; i < one.Length; i++)
        {
            int corner = row[0];
            row[0] = i + 1;
            for (int j = 0; j < other.Length; j++)
            {
                int replaced = corner + (one[i] == other[j] ? 0 : 1);
                corner = row[j + 1];
                row[j + 1] = Math.Min(replaced, Math.Min(row[j], row[j + 1]) + 1);
            }
        }

        return row[^1];
    }
}
