// A Redis server in a folder and on a port of its own, with the settings that a cluster requires.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Xunit;

namespace Atelier.Silo.Tests.Store;

/// <summary>A server that a test starts, kills and starts again.</summary>
internal sealed class RedisServer : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("redis").FullName;
    private readonly int _port = FreePort();
    private Process? _process;

    /// <summary>Its address, as Store:Redis.</summary>
    public string Address => $"127.0.0.1:{_port}";

    /// <summary>Starts it and waits until it answers.</summary>
    public async Task StartAsync()
    {
        var start = new ProcessStartInfo("redis-server",
        [
            "--port", $"{_port}", "--bind", "127.0.0.1", "--dir", _folder, "--appendonly", "yes", "--appendfsync",
            "always", "--save", "",
        ])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        };
        _process = Process.Start(start)!;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        while (!await AnswersAsync())
        {
            Assert.False(_process.HasExited, "Redis ended at its start.");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>kill -9.</summary>
    public async Task KillAsync()
    {
        if (_process is { } process)
        {
            process.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
            process.Dispose();
            _process = null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        Directory.Delete(_folder, recursive: true);
    }

    // While it loads its data, it answers with an error.
    private async Task<bool> AnswersAsync()
    {
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, _port, TestContext.Current.CancellationToken);
            await client.GetStream().WriteAsync("PING\r\n"u8.ToArray(), TestContext.Current.CancellationToken);
            byte[] answer = new byte[64];
            int length = await client.GetStream().ReadAsync(answer, TestContext.Current.CancellationToken);
            return answer.AsSpan(0, length).StartsWith("+PONG"u8);
        }
        catch (Exception error) when (error is SocketException or IOException)
        {
            return false;
        }
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
