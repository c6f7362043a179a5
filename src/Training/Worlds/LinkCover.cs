// The choice of the trainers that leave a world whose members cannot all reach each other. As few as possible leave, so
// that every link between the remaining members works.
namespace Atelier.Training.Worlds;

/// <summary>Finds a smallest set of trainers that contains one end of every broken link (a vertex cover).</summary>
public static class LinkCover
{
    // If more trainers than this have broken links, a greedy search replaces the exact one.
    private const int ExactMax = 20;

    /// <summary>
    /// Returns the trainers to remove. Among the smallest sets, the one with the lowest total speed is chosen;
    /// remaining ties are broken by identity, so that all processes that compute the set agree.
    /// </summary>
    /// <param name="broken">Pairs of trainers that cannot reach each other.</param>
    /// <param name="speed">Speed of a trainer.</param>
    public static IReadOnlySet<TrainerId> Of(
        IReadOnlyCollection<(TrainerId One, TrainerId Other)> broken, Func<TrainerId, double> speed)
    {
        TrainerId[] trainers =
            [.. broken.SelectMany(link => new[] { link.One, link.Other }).Distinct().Order(TrainerId.Order)];
        return trainers.Length <= ExactMax ? Smallest(trainers, broken, speed) : Greedy(broken, speed);
    }

    private static HashSet<TrainerId> Smallest(
        TrainerId[] trainers, IReadOnlyCollection<(TrainerId One, TrainerId Other)> broken,
        Func<TrainerId, double> speed)
    {
        int[] links = [.. broken.Select(link =>
            (1 << Array.IndexOf(trainers, link.One)) | (1 << Array.IndexOf(trainers, link.Other)))];
        double[] speeds = [.. trainers.Select(speed)];
        (int Count, double Speed, int Set) best = (int.MaxValue, 0, 0);
        Choose(0, 0);
        return [.. trainers.Where((_, i) => (best.Set >> i & 1) != 0)];

        // One end of the first link that is not covered yet must be in the set.
        void Choose(int link, int set)
        {
            while (link < links.Length && (links[link] & set) != 0)
            {
                link++;
            }

            int count = int.PopCount(set);
            if (link == links.Length)
            {
                double sum = Enumerable.Range(0, speeds.Length).Where(i => (set >> i & 1) != 0).Sum(i => speeds[i]);
                if ((count, sum, set).CompareTo(best) < 0)
                {
                    best = (count, sum, set);
                }
            }
            else if (count < best.Count)
            {
                int low = links[link] & -links[link];
                Choose(link + 1, set | low);
                Choose(link + 1, set | (links[link] & ~low));
            }
        }
    }

    private static HashSet<TrainerId> Greedy(
        IReadOnlyCollection<(TrainerId One, TrainerId Other)> broken, Func<TrainerId, double> speed)
    {
        var left = broken.ToList();
        var set = new HashSet<TrainerId>();
        while (left.Count > 0)
        {
            TrainerId worst = left.SelectMany(link => new[] { link.One, link.Other }).GroupBy(trainer => trainer)
                .OrderByDescending(group => group.Count()).ThenBy(group => speed(group.Key))
                .ThenBy(group => group.Key, TrainerId.Order)
                .First().Key;
            set.Add(worst);
            left.RemoveAll(link => link.One == worst || link.Other == worst);
        }

        return set;
    }
}
