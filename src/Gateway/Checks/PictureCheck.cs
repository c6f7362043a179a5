// The program that checks a running cluster from outside, as a client would use it: it draws a picture.
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace Atelier.Gateway.Checks;

/// <summary>The command check of the gateway's program.</summary>
public static class PictureCheck
{
    /// <summary>The command's name: the first argument of the program.</summary>
    public const string Name = "check";

    private const string Tenant = "check";
    private const int Failed = 1;
    private const int WrongArguments = 2;
    private static readonly byte[] s_png = [0x89, (byte)'P', (byte)'N', (byte)'G', 13, 10, 26, 10];

    // A pool that is at zero may have to start first.
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(15);

    /// <summary>
    /// Draws a picture as the tenant "check", which is created if it does not exist, with a key that is revoked
    /// afterwards. The administrator's key is read from Check:AdminKey.
    /// </summary>
    /// <param name="args">--url, the gateway's, and --prompt.</param>
    /// <param name="output">Receives what was drawn.</param>
    /// <param name="errors">Receives what is wrong with the arguments, or why no picture was drawn.</param>
    /// <returns>The exit code: 0, 1 if no picture was drawn, or 2 if the arguments are wrong.</returns>
    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter errors)
    {
        IConfigurationRoot configuration = new ConfigurationBuilder()
            .AddEnvironmentVariables().AddCommandLine(args).Build();
        if (!Uri.TryCreate(configuration["url"], UriKind.Absolute, out Uri? url)
            || configuration["prompt"] is not { Length: > 0 } prompt
            || configuration["Check:AdminKey"] is not { Length: > 0 } adminKey)
        {
            await errors.WriteLineAsync(
                $"atelier: {Name} needs --url URL, --prompt TEXT and, in Check__AdminKey, the administrator's key.");
            return WrongArguments;
        }

        try
        {
            int bytes = await DrawAsync(url, adminKey, prompt);
            await output.WriteLineAsync($"Drew \"{prompt}\": a PNG of {bytes:n0} bytes.");
            return 0;
        }
        catch (Exception error) when (error
            is HttpRequestException or TaskCanceledException or InvalidDataException or JsonException)
        {
            await errors.WriteLineAsync($"atelier: No picture was drawn: {error.Message}");
            return Failed;
        }
    }

    private static async Task<int> DrawAsync(Uri url, string adminKey, string prompt)
    {
        using HttpClient admin = Client(url, adminKey);
        await SendAsync(admin, HttpMethod.Put, $"v1/admin/tenants/{Tenant}", new object());
        JsonElement key = await SendAsync(
            admin, HttpMethod.Post, $"v1/admin/tenants/{Tenant}/keys", new { label = "check" });
        try
        {
            using HttpClient client = Client(url, key.GetProperty("key").GetString()!);
            JsonElement images = await SendAsync(
                client, HttpMethod.Post, "v1/images/generations", new { prompt, response_format = "b64_json" });
            byte[] png = images.GetProperty("data")[0].GetProperty("b64_json").GetBytesFromBase64();
            return png.AsSpan().StartsWith(s_png)
                ? png.Length : throw new InvalidDataException("The answer is not a PNG.");
        }
        finally
        {
            string hash = key.GetProperty("hash").GetString()!;
            await SendAsync(admin, HttpMethod.Delete, $"v1/admin/tenants/{Tenant}/keys/{hash}", null);
        }
    }

    private static HttpClient Client(Uri url, string key) => new()
    {
        BaseAddress = url, Timeout = s_patience,
        DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", key) },
    };

    private static async Task<JsonElement> SendAsync(HttpClient client, HttpMethod method, string path, object? body)
    {
        using var request = new HttpRequestMessage(method, path)
        {
            Content = body is null
                ? null : new StringContent(JsonSerializer.Serialize(body), Encoding.UTF8, "application/json"),
        };
        using HttpResponseMessage response = await client.SendAsync(request);
        string text = await response.Content.ReadAsStringAsync();
        return !response.IsSuccessStatusCode
            ? throw new InvalidDataException($"{method} /{path} was answered with {(int)response.StatusCode}: {text}")
            : text.Length == 0 ? default : JsonElement.Parse(text);
    }
}
