// The edit distance, which finds the known name nearest to a mistyped one. Projects that do not reference each other
// compile this same file. It has no XML docs, because the generator of the API description reads those of all projects
// and rejects two docs for the same name.
namespace Atelier.Configuration;

// The number of single-letter edits between two words.
internal static class EditDistance
{
    // The Levenshtein distance: the least number of letters to insert, delete or replace to turn one word into the
    // other.
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
