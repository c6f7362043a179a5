// Which known name a mistyped one is nearest to. Projects that do not refer to each other compile this one file, so its
// comments are plain: the description of the API reads the XML docs of all projects, and refuses two of one name.
namespace Atelier.Configuration;

// The distance of two words by their letters.
internal static class EditDistance
{
    // Levenshtein's distance: the least number of letters to insert, delete or replace that makes one of the other.
    public static int Between(string one, string other)
    {
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
