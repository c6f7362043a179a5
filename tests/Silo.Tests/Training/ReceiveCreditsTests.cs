// Goal: credits never exceed the budget, are granted in the order of the requests, and come back whatever happens to
// the reader that waits for them. Method: requests by hand, and a storm of requests that are cancelled while they are
// granted.
using Atelier.Silo.Training;
using Xunit;

namespace Atelier.Silo.Tests.Training;

#pragma warning disable VSTHRD003 // Waits begin before what ends them.
public sealed class ReceiveCreditsTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Readers_WaitForTheirShare_InTheOrderOfTheirRequests()
    {
        var credits = new ReceiveCredits(10);
        IDisposable first = await credits.TakeAsync(7, Cancellation);
        Task<IDisposable> large = credits.TakeAsync(8, Cancellation).AsTask();

        // Three bytes are free, but the larger request is earlier: otherwise small frames could starve a large one.
        Task<IDisposable> small = credits.TakeAsync(1, Cancellation).AsTask();
        Assert.Equal((false, false), (large.IsCompleted, small.IsCompleted));

        first.Dispose();
        IDisposable second = await large;
        await small;
        Task<IDisposable> next = credits.TakeAsync(2, Cancellation).AsTask();
        Assert.False(next.IsCompleted);
        second.Dispose();
        await next;
    }

    [Fact]
    public async Task ReaderOfMoreThanTheBudget_GetsTheWholeBudget()
    {
        var credits = new ReceiveCredits(10);
        IDisposable small = await credits.TakeAsync(1, Cancellation);
        Task<IDisposable> all = credits.TakeAsync(1000, Cancellation).AsTask();
        Assert.False(all.IsCompleted);
        small.Dispose();
        using (await all)
        {
            Assert.False(await IsGrantedAsync(credits, 1));
        }

        Assert.True(await IsGrantedAsync(credits, 10));
    }

    [Fact]
    public async Task CreditThatIsReturnedTwice_CountsOnce()
    {
        var credits = new ReceiveCredits(10);
        IDisposable one = await credits.TakeAsync(5, Cancellation), other = await credits.TakeAsync(5, Cancellation);
        one.Dispose();
        one.Dispose();
        Assert.False(await IsGrantedAsync(credits, 6));
        other.Dispose();
        Assert.True(await IsGrantedAsync(credits, 10));
    }

    [Fact]
    public async Task ReaderThatGivesUp_LetsTheNextOnePass()
    {
        var credits = new ReceiveCredits(10);
        using IDisposable held = await credits.TakeAsync(7, Cancellation);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        Task<IDisposable> large = credits.TakeAsync(8, patience.Token).AsTask();
        Task<IDisposable> small = credits.TakeAsync(3, Cancellation).AsTask();
        await patience.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => large);
        await small;
        Assert.False(await IsGrantedAsync(credits, 1));
    }

    // A grant and a cancellation may happen at the same time; the bytes are returned in either case.
    [Fact]
    public async Task CancelledReaders_LoseNoBytes()
    {
        var credits = new ReceiveCredits(10);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(seed => Task.Run(async () =>
        {
            var random = new Random(seed);
            for (int i = 0; i < 2000; i++)
            {
                using var patience = new CancellationTokenSource();
                Task<IDisposable> waiting = credits.TakeAsync(random.Next(1, 12), patience.Token).AsTask();
                if (random.Next(2) == 0)
                {
                    await Task.Yield();
                    await patience.CancelAsync();
                }

                try
                {
                    (await waiting).Dispose();
                }
                catch (OperationCanceledException)
                {
                    // Whatever was granted to the reader must be free again.
                }
            }
        })));
        Assert.True(await IsGrantedAsync(credits, 10));
    }

    // Whether so many bytes are granted at once. A request that is not granted is withdrawn.
    private static async Task<bool> IsGrantedAsync(ReceiveCredits credits, long bytes)
    {
        using var patience = new CancellationTokenSource();
        Task<IDisposable> request = credits.TakeAsync(bytes, patience.Token).AsTask();
        if (request.IsCompletedSuccessfully)
        {
            (await request).Dispose();
            return true;
        }

        await patience.CancelAsync();
        return false;
    }
}
#pragma warning restore VSTHRD003
