// Requests that Kestrel refuses before any middleware runs: a request line or headers that are too long, too late or
// not HTTP. Kestrel responds with only a status code. This code replaces that response with one in OpenAI's error
// format, with a request id.
using System.Diagnostics;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using Atelier.Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.WebUtilities;

namespace Atelier.Gateway.Answers;

/// <summary>Rewrites the web server's own refusals into OpenAI's error format.</summary>
internal static class Refusals
{
    private const string BadRequest = "Microsoft.AspNetCore.Server.Kestrel.BadRequest";

    /// <summary>Serves a connection and rewrites its refusals.</summary>
    public static async Task ServeAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        IDuplexPipe wire = connection.Transport;
        var output = new RefusalWriter(wire.Output);
        connection.Features.Set(output);
        connection.Transport = new Pipes(wire.Input, output);
        try
        {
            await next(connection);
        }
        finally
        {
            connection.Transport = wire;
        }
    }

    /// <summary>Subscribes to the server's refusals, until the result is disposed.</summary>
    public static IDisposable Watch(IServiceProvider services) =>
        services.GetRequiredService<DiagnosticListener>().Subscribe(
            new Observer(services.GetRequiredService<TimeProvider>(), services.GetRequiredService<RefusalRecord>()),
            name => name == BadRequest);

    private sealed record Pipes(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    private sealed class Observer(TimeProvider clock, RefusalRecord refusals) : IObserver<KeyValuePair<string, object?>>
    {
        public void OnNext(KeyValuePair<string, object?> value)
        {
            if (value.Key == BadRequest && value.Value is IFeatureCollection features
                && features.Get<IHttpResponseFeature>() is { HasStarted: false, StatusCode: var status })
            {
                bool isHead = HttpMethods.IsHead(features.Get<IHttpRequestFeature>()?.Method ?? "");
                features.Get<RefusalWriter>()?.Refuse(AnswerOf(status, isHead));
            }
        }

        public void OnCompleted()
        {
        }

        public void OnError(Exception error)
        {
        }

        private byte[] AnswerOf(int status, bool isHead)
        {
            GatewayError error = status == StatusCodes.Status408RequestTimeout
                ? GatewayError.HeadersTooSlow
                : GatewayError.Of(status);
            refusals.Add(error.Code);
            byte[] body = error.Body();
            string head = string.Create(
                CultureInfo.InvariantCulture,
                $"HTTP/1.1 {status} {ReasonPhrases.GetReasonPhrase(status)}\r\nDate: {clock.GetUtcNow():R}\r\n"
                + $"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n"
                + $"Cache-Control: no-store\r\n"
                + $"{AnswersMiddleware.RequestId}: {AnswersMiddleware.NewId()}\r\n\r\n");
            return [.. Encoding.ASCII.GetBytes(head), .. isHead ? [] : body];
        }
    }
}

/// <summary>Passes the server's output through, or sends one refusal in its place.</summary>
internal sealed class RefusalWriter(PipeWriter wire) : PipeWriter
{
    private byte[]? _refusal;
    private byte[] _dropped = [];
    private bool _isSent;

    public override bool CanGetUnflushedBytes => wire.CanGetUnflushedBytes;

    public override long UnflushedBytes => wire.UnflushedBytes;

    /// <summary>Sends this response in place of everything that the server writes from now on.</summary>
    public void Refuse(byte[] answer) => _refusal ??= answer;

    public override void Advance(int bytes)
    {
        if (_refusal is null)
        {
            wire.Advance(bytes);
        }
    }

    public override Memory<byte> GetMemory(int sizeHint = 0) =>
        _refusal is null ? wire.GetMemory(sizeHint) : Dropped(sizeHint);

    public override Span<byte> GetSpan(int sizeHint = 0) =>
        _refusal is null ? wire.GetSpan(sizeHint) : Dropped(sizeHint);

    public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        if (_refusal is null || _isSent)
        {
            return wire.FlushAsync(cancellationToken);
        }

        _isSent = true;
        return wire.WriteAsync(_refusal, cancellationToken);
    }

    public override void CancelPendingFlush() => wire.CancelPendingFlush();

    public override void Complete(Exception? exception = null) => wire.Complete(exception);

    public override ValueTask CompleteAsync(Exception? exception = null) => wire.CompleteAsync(exception);

    private byte[] Dropped(int sizeHint)
    {
        if (_dropped.Length < Math.Max(1, sizeHint))
        {
            _dropped = new byte[Math.Max(4096, sizeHint)];
        }

        return _dropped;
    }
}
