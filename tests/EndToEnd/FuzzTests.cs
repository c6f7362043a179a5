// Goal: no client input causes a server error: every request is answered within seconds, with a status below 500, and
// errors have one shape. Method: requests drawn from a seed, valid ones with members, headers, paths and bodies
// changed, and raw HTTP, sent over sockets to a gateway and a silo in separate processes. In full size by
// bench/attacks.sh: 10,000 requests.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Xunit;

namespace Atelier.EndToEnd;

[Collection("clusters")] // One after the other, so that they do not disturb each other.
public sealed class FuzzTests
{
    // This many tenants, because the gateway admits 100 requests a second from each.
    private const int Tenants = 24;
    private const int AtATime = 16;

    // The client closes its side of a request that may be incomplete after this time.
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(1);

    // Drawing a picture takes time, along with others on a machine that may be busy.
    private static readonly TimeSpan s_pictureMax = TimeSpan.FromSeconds(60);

    private static TimeSpan AnswerMax => TimeSpan.FromSeconds(Setting("ATELIER_ATTACK_SECONDS", 30));

    private static int Requests => Setting("ATELIER_ATTACK_FUZZ", 400);

    private static int Seed => Setting("ATELIER_ATTACK_SEED", 17);

    [Fact]
    public async Task NoClientInput_CausesAServerError()
    {
        await using var cluster = new TestCluster(silos: 1, embedded: true);
        await cluster.StartAsync();
        string[] keys = await Task.WhenAll(Enumerable.Range(0, Tenants).Select(i => KeyAsync(cluster, $"fuzz{i}")));
        ProcessUnderTest[] processes = [cluster.Gateway, cluster.Silos[0]];
        int[] started = [.. processes.Select(process => process.Output.Length)];
        var faults = new ConcurrentQueue<string>();
        var statuses = new ConcurrentDictionary<int, int>();
        TimeSpan slowest = TimeSpan.Zero;
        await Parallel.ForEachAsync(
            Enumerable.Range(0, Requests), new ParallelOptions { MaxDegreeOfParallelism = AtATime },
            async (number, cancellation) =>
            {
                FuzzedRequest request = new RequestFuzzer((Seed * 1_000_003) + number).Next(keys[number % Tenants]);
                (string answer, TimeSpan time) = await SendAsync(cluster.Url, request, cancellation);
                string? fault = Fault(request, answer, time, out int status);
                statuses.AddOrUpdate(status, 1, (_, count) => count + 1);
                if (!IsPicture(request, status))
                {
                    lock (faults)
                    {
                        slowest = time > slowest ? time : slowest;
                    }
                }

                if (fault is not null)
                {
                    faults.Enqueue(
                        $"Request {number} ({request.What}): {fault}\n{Shown(request.Bytes)}\n{Shown(answer)}");
                }
            });
        string counts = string.Join(", ", statuses.OrderBy(one => one.Key).Select(one => $"{one.Key}: {one.Value}"));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{Requests} requests of seed {Seed}, the slowest {slowest.TotalSeconds:f2} s; by status: {counts}"));
        Assert.True(
            faults.IsEmpty,
            $"{faults.Count} faults, seed {Seed}.\n{string.Join("\n\n", faults.Take(20))}\n{cluster.Logs()}");

        // And no process has died of it or logged an error. Levels are shown as the console's logger shows them, so an
        // error would be seen.
        using HttpClient client = cluster.Client(keys[0]);
        using HttpResponseMessage models = await client.GetAsync("/v1/models", TestContext.Current.CancellationToken);
        Assert.True(models.IsSuccessStatusCode);
        for (int i = 0; i < processes.Length; i++)
        {
            Assert.True(processes[i].IsRunning);
            Assert.NotEmpty(Lines(processes[i].Output, "info: Atelier."));
            string output = processes[i].Output[started[i]..];
            string[] errors = [.. Lines(output, "fail: "), .. Lines(output, "crit: ")];
            Assert.True(errors.Length == 0, $"{string.Join('\n', errors.Take(20))}\n{cluster.Logs()}");
        }
    }

    private static IEnumerable<string> Lines(string output, string start) =>
        output.Split('\n').Where(line => line.StartsWith(start, StringComparison.Ordinal));

    private static string? Fault(FuzzedRequest request, string answer, TimeSpan time, out int status)
    {
        (int Status, string Head, string Body)[] answers = [.. AnswersOf(answer)];
        status = answers.FirstOrDefault().Status;
        return time > (IsPicture(request, status) ? s_pictureMax : AnswerMax) ? $"it took {time.TotalSeconds:f1} s"
            : answers.Length > 0 ? answers.Select(one => Fault(request, one)).FirstOrDefault(one => one is not null)
            : request.MayBeCut ? null // Or a frame of HTTP/2.
            : "there is no whole answer";
    }

    // Every refusal has the error shape and an id, from a silo, the gateway or its web server.
    private static string? Fault(FuzzedRequest request, (int Status, string Head, string Body) answer)
    {
        (int status, string head, string body) = answer;

        // The one status of 500 or above that blames the client.
        bool isOtherVersion = status == 505 && !request.IsParsed;
        return status >= 500 && !isOtherVersion ? $"the status is {status}"
            : status < 400 ? null
            : !head.Contains("\r\nx-request-id: req_", StringComparison.OrdinalIgnoreCase)
                ? $"the {status} has no request id"
            : request.IsHead || IsError(body) ? null
            : $"the {status} has another shape";
    }

    // The complete answers on a connection, without those that only say to continue. A character is a byte.
    private static IEnumerable<(int Status, string Head, string Body)> AnswersOf(string text)
    {
        const string HeadEnd = "\r\n\r\n", LastChunk = "\r\n0\r\n\r\n";
        int start = 0;
        while (text.AsSpan(start).StartsWith("HTTP/1.1 ", StringComparison.Ordinal)
            && text.IndexOf(HeadEnd, start, StringComparison.Ordinal) is > 0 and var headEnd
            && int.TryParse(
                text.AsSpan(start + 9, 3), NumberStyles.None, CultureInfo.InvariantCulture, out int status))
        {
            int body = headEnd + HeadEnd.Length, end = text.Length;
            string head = text[start..body];
            if (status == 100)
            {
                start = body;
                continue;
            }

            if (head.Contains("\r\nTransfer-Encoding: chunked", StringComparison.OrdinalIgnoreCase))
            {
                int last = text.IndexOf(LastChunk, body - 2, StringComparison.Ordinal);
                end = last < 0 ? text.Length : last + LastChunk.Length;
            }
            else if (body < text.Length
                && head.Split("\r\nContent-Length: ", 2) is [_, var rest]
                && int.TryParse(rest.Split('\r')[0], NumberStyles.None, CultureInfo.InvariantCulture, out int length))
            {
                end = body + length;
            }

            if (end > text.Length)
            {
                yield break;
            }

            yield return (status, head, text[body..end]);
            start = end;
        }
    }

    private static bool IsPicture(FuzzedRequest request, int status) =>
        status == 200 && request.Bytes.AsSpan().IndexOf("/v1/images/generations"u8) >= 0;

    private static bool IsError(string body)
    {
        int start = body.IndexOf('{', StringComparison.Ordinal), end = body.LastIndexOf('}');
        try
        {
            return start >= 0 && end > start
                && JsonNode.Parse(Encoding.Latin1.GetBytes(body[start..(end + 1)]))?["error"]?["code"] is JsonValue;
        }
        catch (System.Text.Json.JsonException)
        {
            return false;
        }
    }

    // Reads until the connection ends, which nearly every request asks for; and measures the time since the client's
    // last action.
    private static async Task<(string Answer, TimeSpan Time)> SendAsync(
        Uri url, FuzzedRequest request, CancellationToken cancellation)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(url.Host, url.Port, cancellation);
        NetworkStream stream = client.GetStream();
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_pictureMax + s_grace);
        using var answer = new MemoryStream();
        long start = Stopwatch.GetTimestamp();
        try
        {
            await stream.WriteAsync(request.Bytes, patience.Token);
            Task reading = stream.CopyToAsync(answer, patience.Token);
            if (request.MayWait && await Task.WhenAny(reading, Task.Delay(s_grace, cancellation)) != reading)
            {
                client.Client.Shutdown(SocketShutdown.Send);
                start = Stopwatch.GetTimestamp();
            }

            await reading;
        }
        catch (Exception error)
            when (error is IOException or SocketException or OperationCanceledException
                && !cancellation.IsCancellationRequested)
        {
            // What arrived before the error is the answer.
        }

        return (Encoding.Latin1.GetString(answer.ToArray()), Stopwatch.GetElapsedTime(start));
    }

    private static async Task<string> KeyAsync(TestCluster cluster, string tenant)
    {
        using HttpClient client = await cluster.TenantAsync(tenant), admin = cluster.Admin();

        // A few small pictures: long-running work is not part of this test.
        using HttpResponseMessage limited = await admin.PutAsJsonAsync(
            $"/v1/admin/tenants/{tenant}", new { evaluations_per_day = 100 }, TestContext.Current.CancellationToken);
        limited.EnsureSuccessStatusCode();
        foreach ((string path, object body) in new (string, object)[]
        {
            ("/v1/sessions", new { id = "s" }),
            ("/v1/sessions/s/generations", new { id = "g", prompt = "red", steps = 1 }),
        })
        {
            using HttpResponseMessage made = await client.PostAsJsonAsync(
                path, body, TestContext.Current.CancellationToken);
            made.EnsureSuccessStatusCode();
        }

        return client.DefaultRequestHeaders.Authorization!.Parameter!;
    }

    private static string Shown(byte[] bytes) => Shown(Encoding.Latin1.GetString(bytes));

    private static string Shown(string text)
    {
        string shown = text.Length <= 1500 ? text : text[..1000] + $" ... ({text.Length} in all) ... " + text[^300..];
        return shown.ReplaceLineEndings("\\n\n");
    }

    private static int Setting(string name, int standard) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), out int value) ? value : standard;
}
