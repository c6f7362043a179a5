// A load of generations whose pictures are known: clients that submit one after the other, retry under the same id, and
// compare each picture with that of an undisturbed run.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Atelier.EndToEnd;
using Xunit;

namespace Atelier.Helm.Tests.Pods;

/// <summary>Clients of a tenant.</summary>
internal sealed class GenerationLoad : IDisposable
{
    private const int Clients = 8;
    private static readonly string[] s_prompts =
        ["a red circle", "a blue square", "two green stars", "a yellow moon at night", "an orange triangle"];

    private readonly HttpClient _client;
    private readonly CountingHandler _answers = new();
    private readonly int _steps;
    private readonly List<byte[]> _pictures = [];

    private GenerationLoad(PodCluster cluster, string key, int steps) =>
        (_client, _steps) = (cluster.Client(key, _answers), steps);

    /// <summary>Client of the tenant.</summary>
    public HttpClient Client => _client;

    /// <summary>Number of pictures that were drawn and had the right bytes.</summary>
    public int Done { get; private set; }

    /// <summary>Number of answers that made a client retry, by status or error.</summary>
    public string Retries => string.Join(", ", _answers.Counts.Select(one => $"{one.Value} x {one.Key}"));

    /// <summary>Creates the tenant, and draws the pictures undisturbed.</summary>
    public static async Task<GenerationLoad> CreateAsync(PodCluster cluster, int pictures, int steps)
    {
        using HttpClient admin = cluster.Admin();
        using HttpResponseMessage made = await admin.PutAsJsonAsync(
            "/v1/admin/tenants/load", new { requests_per_minute = 100_000, open_generations = 1_000 });
        made.EnsureSuccessStatusCode();
        using HttpResponseMessage answer = await admin.PostAsJsonAsync(
            "/v1/admin/tenants/load/keys", new { label = "test" });
        JsonObject key = (await answer.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonObject>())!;
        var load = new GenerationLoad(cluster, key["key"]!.GetValue<string>(), steps);
        foreach (string id in Enumerable.Range(0, pictures).Select(i => $"calm-{i}"))
        {
            load._pictures.Add(await load.DrawAsync(id, load._pictures.Count));
        }

        return load;
    }

    /// <summary>Draws under load until the disturbance is over, and at least so many generations.</summary>
    /// <param name="name">What the ids begin with.</param>
    /// <param name="least">The minimum number of generations.</param>
    /// <param name="disturb">Begins once the first pictures are done.</param>
    public async Task RunAsync(string name, int least, Func<Task> disturb)
    {
        var some = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task disturbance = Task.Run(async () =>
        {
            await some.Task;
            await disturb();
        });
        int next = 0;
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(async _ =>
        {
            while (Interlocked.Increment(ref next) is var number
                && (number <= least || !disturbance.IsCompleted))
            {
                int picture = number % _pictures.Count;
                Assert.Equal(_pictures[picture], await DrawAsync($"{name}-{number}", picture));
                lock (_pictures)
                {
                    Done++;
                }

                if (number >= Clients)
                {
                    some.TrySetResult();
                }
            }
        }));
        await disturbance;
    }

    /// <summary>Submits a generation and waits for its picture.</summary>
    public async Task<byte[]> DrawAsync(string id, int picture)
    {
        await SubmitAsync(id, picture);
        JsonObject end = await Pictures.EndAsync(_client, id);
        Assert.True(end["phase"]!.GetValue<string>() == "done", $"{end}");
        return await Pictures.FetchAsync(_client, id);
    }

    /// <summary>Submits a generation.</summary>
    public Task SubmitAsync(string id, int picture) =>
        Pictures.SubmitAsync(_client, id, s_prompts[picture % s_prompts.Length], (ulong)picture, _steps);

    public void Dispose()
    {
        _client.Dispose();
        _answers.Dispose();
    }

    // Counts answers and errors after which a client retries.
    private sealed class CountingHandler() : DelegatingHandler(new SocketsHttpHandler())
    {
        public ConcurrentDictionary<string, int> Counts { get; } = new(StringComparer.Ordinal);

        protected override async Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken)
        {
            try
            {
                HttpResponseMessage answer = await base.SendAsync(request, cancellationToken);
                if (answer.StatusCode >= HttpStatusCode.InternalServerError
                    || answer.StatusCode == HttpStatusCode.TooManyRequests)
                {
                    Count($"{(int)answer.StatusCode}");
                }

                return answer;
            }
            catch (HttpRequestException error)
            {
                Count($"{error.HttpRequestError}");
                throw;
            }
        }

        private void Count(string what) => Counts.AddOrUpdate(what, 1, (_, count) => count + 1);
    }
}
