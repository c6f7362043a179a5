// A process that was started by a supervisor ends with it. The supervisor holds the other end of standard input and
// never writes to it: when it is gone, however it went, the input is at its end, and this process leaves in order.
using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Atelier.ServiceDefaults;

/// <summary>Watches standard input, where "Supervisor:Stdin" is true.</summary>
internal sealed class Supervision(IHostApplicationLifetime lifetime) : IHostedService
{
    /// <summary>The setting that says that a supervisor holds standard input.</summary>
    public const string Setting = "Supervisor:Stdin";

    // Longer than any process takes that leaves in order; nobody else is left to end one that hangs.
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(40);

    /// <summary>Adds the watch if there is a supervisor.</summary>
    public static void AddTo(IHostApplicationBuilder builder)
    {
        if (bool.TryParse(builder.Configuration[Setting], out bool supervised) && supervised)
        {
            // Ctrl-C in a terminal goes to all processes of a group. This one is stopped by its supervisor, in its
            // turn.
            _ = SetProcessGroup(0, 0);
            builder.Services.AddHostedService<Supervision>();
        }
    }

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        // A thread of its own: a read of standard input cannot be called off.
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
            // Nothing is expected, and nothing is done with it.
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
