// A service with an address of its own: connections to its ports are passed on to the pods that are ready, in turn.
using System.Net;
using System.Net.Sockets;
using k8s.Models;

namespace Atelier.Helm.Tests.Pods;

/// <summary>A service's ports.</summary>
internal sealed class ServiceProxy : IAsyncDisposable
{
    // A node learns late that a pod is not an endpoint anymore.
    private static readonly TimeSpan s_delay = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _over = new();
    private readonly Func<IReadOnlyList<RunningPod>> _endpoints;
    private readonly List<Task> _listeners = [];
    private volatile IReadOnlyList<RunningPod> _known = [];
    private int _turn;

    /// <summary>Listens at an address of this machine.</summary>
    /// <param name="service">The service.</param>
    /// <param name="address">Its address.</param>
    /// <param name="endpoints">The pods that are its endpoints now.</param>
    public ServiceProxy(V1Service service, IPAddress address, Func<IReadOnlyList<RunningPod>> endpoints)
    {
        (Address, _endpoints) = (address, endpoints);
        foreach (V1ServicePort port in service.Spec.Ports)
        {
            var listener = new TcpListener(address, port.Port);
            listener.Start();
            _listeners.Add(ListenAsync(listener, port.TargetPort.Value));
        }
    }

    public IPAddress Address { get; }

    /// <summary>Takes notice of the endpoints, of those that are gone a while later.</summary>
    public async Task UpdateAsync()
    {
        _known = [.. _known.Union(_endpoints())];
        await Task.Delay(s_delay, _over.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _known = _endpoints();
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        await Task.WhenAll(_listeners);
    }

    private async Task ListenAsync(TcpListener listener, string port)
    {
        List<Task> connections = [];
        try
        {
            while (true)
            {
                Socket client = await listener.AcceptSocketAsync(_over.Token);
                connections.RemoveAll(one => one.IsCompleted);
                connections.Add(PassAsync(client, port));
            }
        }
        catch (OperationCanceledException)
        {
            listener.Stop();
            await Task.WhenAll(connections);
        }
    }

    // A connection that no pod accepts is reset.
    private async Task PassAsync(Socket client, string port)
    {
        using (client)
        using (var server = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            client.NoDelay = server.NoDelay = true;
            client.LingerState = new LingerOption(true, 0);
            try
            {
                IReadOnlyList<RunningPod> pods = _known;
                if (pods.Count == 0)
                {
                    return;
                }

                RunningPod pod = pods[(int)((uint)Interlocked.Increment(ref _turn) % (uint)pods.Count)];
                await server.ConnectAsync(
                    pod.Address!, RunningPod.PortOf(pod.Spec.Containers[0], port), _over.Token);
                await Task.WhenAll(CopyAsync(client, server), CopyAsync(server, client));
                client.LingerState = new LingerOption(false, 0);
            }
            catch (Exception error) when (error is SocketException or OperationCanceledException)
            {
                // The other side's connection ends as well.
            }
        }
    }

    private async Task CopyAsync(Socket from, Socket to)
    {
        try
        {
            byte[] buffer = new byte[1 << 16];
            while (await from.ReceiveAsync(buffer, _over.Token) is var count and > 0)
            {
                await to.SendAsync(buffer.AsMemory(0, count), _over.Token);
            }

            to.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            from.Dispose();
            to.Dispose();
            throw;
        }
        catch (ObjectDisposedException error)
        {
            throw new OperationCanceledException("The other direction is over.", error);
        }
    }
}
