// Azurite, the emulator of Azure Blob Storage, in a folder and on a port of its own. ./atelier test installs it.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Azure;
using Azure.Storage.Blobs;
using Xunit;

namespace Atelier.Silo.Tests.Blobs;

public sealed class AzuriteServer : IAsyncLifetime
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);
    private readonly string _folder = Directory.CreateTempSubdirectory("azurite").FullName;
    private Process? _process;

    /// <summary>The port it listens on.</summary>
    public int Port { get; private set; }

    /// <summary>Its connection string: with the account and key that every Azurite has.</summary>
    public string Connection =>
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
        + "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
        + $"BlobEndpoint=http://127.0.0.1:{Port}/devstoreaccount1;";

    public async ValueTask InitializeAsync()
    {
        string program = FindProgram();
        if (!File.Exists(program))
        {
            Assert.Fail($"Azurite is not installed: no {program}. ./atelier test installs it if npm is there.");
        }

        Port = FreePort();
        var start = new ProcessStartInfo("node",
        [
            program, "--blobHost", "127.0.0.1", "--blobPort", $"{Port}", "-l", _folder, "--silent",
            "--disableTelemetry", "--skipApiVersionCheck",
        ])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        _process = Process.Start(start)!;
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        enough.CancelAfter(s_patience);
        var account = new BlobServiceClient(Connection);
        while (true)
        {
            Assert.False(_process.HasExited, "Azurite ended at its start.");
            try
            {
                await account.GetPropertiesAsync(enough.Token);
                return;
            }
            catch (Exception error) when (
                error is RequestFailedException or AggregateException && !enough.IsCancellationRequested)
            {
                await Task.Delay(100, enough.Token);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
            _process.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    private static string FindProgram([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(
        Path.GetDirectoryName(here)!, "..", "..", "..", "artifacts", "azurite", "node_modules", ".bin",
        "azurite-blob"));

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
