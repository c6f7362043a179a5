// Byte-pair encoding: a word starts as its UTF-8 bytes, and adjacent pairs merge in the order in which training learned
// the merges.
namespace Atelier.Model.Clip;

/// <summary>
/// The learned merges. Symbols are numbers: 0 to 255 are the bytes, 256 to 511 the bytes at the end of a word, 512 + r
/// the result of the merge of rank r. The bytes are numbered in GPT-2's order, printable ones first.
/// </summary>
internal sealed class TokenMerges
{
    /// <summary>
    /// Number of symbols that are not merges: one for each byte within a word, and one for each byte at its end.
    /// </summary>
    public const int ByteSymbols = 512;

    private const int EndOffset = 256;

    private static readonly byte[] Bytes = OrderBytes();
    private static readonly byte[] SymbolOfByte = Invert(Bytes);

    private readonly Dictionary<(int First, int Second), int> _ranks;

    /// <summary>Creates the table of merges.</summary>
    /// <param name="ranks">The rank of each pair of symbols.</param>
    public TokenMerges(Dictionary<(int First, int Second), int> ranks) => _ranks = ranks;

    /// <summary>The byte of a symbol below 256.</summary>
    public static byte ByteOf(int symbol) => Bytes[symbol];

    /// <summary>
    /// The symbols of a word. As in the reference, all occurrences of the pair with the lowest rank merge from left to
    /// right before the next pair is chosen. Takes n log n steps for n bytes.
    /// </summary>
    /// <param name="word">At least one byte of UTF-8.</param>
    public int[] Apply(ReadOnlySpan<byte> word)
    {
        var chain = new Chain(word);
        var queue = new PriorityQueue<int, (int Rank, int At)>();
        var round = new List<int>();
        for (int at = 0; at < word.Length; at++)
        {
            Offer(at);
        }
        while (queue.TryPeek(out _, out (int Rank, int At) lowest))
        {
            round.Clear();
            while (queue.TryPeek(out int at, out (int Rank, int At) next) && next.Rank == lowest.Rank)
            {
                queue.Dequeue();
                round.Add(at);
            }
            foreach (int at in round)
            {
                // An earlier merge may have consumed one half of the pair.
                if (chain.TryPair(at, out (int, int) pair) && _ranks.GetValueOrDefault(pair, -1) == lowest.Rank)
                {
                    chain.Merge(at, ByteSymbols + lowest.Rank);
                    Offer(chain.Before(at));
                    Offer(at);
                }
            }
        }
        return chain.ToArray();

        void Offer(int at)
        {
            if (at >= 0 && chain.TryPair(at, out (int, int) pair) && _ranks.TryGetValue(pair, out int rank))
            {
                queue.Enqueue(at, (rank, at));
            }
        }
    }

    private static byte[] OrderBytes()
    {
        int[] all = [.. Enumerable.Range(0, 256)];
        return [.. all.Where(IsPrintable).Concat(all.Where(b => !IsPrintable(b))).Select(b => (byte)b)];

        static bool IsPrintable(int b) => b is (>= '!' and <= '~') or (>= '¡' and <= '¬') or (>= '®' and <= 'ÿ');
    }

    private static byte[] Invert(byte[] order)
    {
        var places = new byte[order.Length];
        for (int i = 0; i < order.Length; i++)
        {
            places[order[i]] = (byte)i;
        }
        return places;
    }

    // A word's symbols as a linked list over its bytes; a merged pair stays at the position of its first half.
    private sealed class Chain
    {
        private const int Gone = -1;

        private readonly int[] _symbols, _next, _before;

        public Chain(ReadOnlySpan<byte> word)
        {
            _symbols = new int[word.Length];
            _next = new int[word.Length];
            _before = new int[word.Length];
            for (int at = 0; at < word.Length; at++)
            {
                _symbols[at] = SymbolOfByte[word[at]];
                _next[at] = at + 1;
                _before[at] = at - 1;
            }
            _symbols[^1] += EndOffset;
        }

        public int Before(int at) => _before[at];

        public bool TryPair(int at, out (int First, int Second) pair)
        {
            bool exists = _symbols[at] != Gone && _next[at] < _symbols.Length;
            pair = exists ? (_symbols[at], _symbols[_next[at]]) : default;
            return exists;
        }

        public void Merge(int at, int symbol)
        {
            int second = _next[at];
            _symbols[at] = symbol;
            _symbols[second] = Gone;
            _next[at] = _next[second];
            if (_next[at] < _symbols.Length)
            {
                _before[_next[at]] = at;
            }
        }

        public int[] ToArray() => [.. _symbols.Where(symbol => symbol != Gone)];
    }
}
