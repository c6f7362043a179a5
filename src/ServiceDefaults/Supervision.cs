// Shutdown of a process when its supervisor ends. The supervisor holds the other end of standard input and never writes
// to it. When the supervisor ends, for whatever reason, standard input ends, and this process shuts down gracefully.
using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Atelier.ServiceDefaults;

/// <summary>Watches standard input if "Supervisor:Stdin" is true.</summary>
internal sealed class Supervision(IHostApplicationLifetime lifetime) : IHostedService
{
    /// <summary>The setting that is true if a supervisor holds standard input.</summary>
    public const string Setting = "Supervisor:Stdin";

    // Longer than a graceful shutdown takes. After this time the process kills itself, because no supervisor is left to
    // do so.
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(40);

    /// <summary>Adds the watch if there is a supervisor.</summary>
    public static void AddTo(IHostApplicationBuilder builder)
    {
        if (bool.TryParse(builder.Configuration[Setting], out bool supervised) && supervised)
        {
            // Ctrl-C in a terminal signals all processes of a group. This process must be stopped by its supervisor,
            // which stops its processes in a certain order.
            _ = SetProcessGroup(0, 0);
            builder.Services.AddHostedService<Supervision>();
        }
    }

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        // A separate thread, because a read of standard input cannot be cancelled.
        new Thread(Watch) { IsBackground = true, Name = "supervisor" }.Start();
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    private void Watch()
    {
        using Stream input = Console.OpenStandardInput();
        Span<byte> buffer = stackalloc byte[256];
        while (input.Read(buffer) > 0)
        {
            // Input is ignored; only its end matters.
        }

        lifetime.StopApplication();
        if (!lifetime.ApplicationStopped.WaitHandle.WaitOne(s_grace))
        {
            Process.GetCurrentProcess().Kill();
        }
    }

    [DllImport("libc", EntryPoint = "setpgid")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetProcessGroup(int process, int group);
}
