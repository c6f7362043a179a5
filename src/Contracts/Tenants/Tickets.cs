// Statements that are signed with the cluster's shared secret. A ticket says who is calling, in a header from gateway
// to silo. A link's token says which picture the link shows, in a URL that anyone may hold.
using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Atelier.Contracts.Tenants;

/// <summary>The caller, as authenticated by the gateway.</summary>
/// <param name="Tenant">The tenant; null for an administrator.</param>
/// <param name="IsAdmin">Whether the caller may administer tenants.</param>
public readonly record struct Caller(TenantId? Tenant, bool IsAdmin);

/// <summary>The validity of a ticket.</summary>
public enum TicketState
{
    /// <summary>The ticket is forged, or belongs to another call.</summary>
    Forged,

    /// <summary>The ticket was signed for this call, but has expired, or its signer's clock is ahead.</summary>
    Stale,

    /// <summary>The ticket is valid.</summary>
    Good,
}

/// <summary>Signs and reads tickets and links. Safe for concurrent use.</summary>
public sealed class Tickets
{
    /// <summary>The header that carries a ticket.</summary>
    public const string Header = "X-Atelier-Ticket";

    /// <summary>
    /// The header in which a silo that refuses a stale ticket reports its own time, in milliseconds since 1970, so that
    /// the gateway can sign the call again by the silo's clock.
    /// </summary>
    public const string ClockHeader = "X-Atelier-Clock";

    /// <summary>Minimum length of a secret in bytes.</summary>
    public const int SecretBytesMin = 32;

    private const string NoTenant = "-";

    // The current secret, which signs, and others that are accepted.
    private readonly byte[][] _secrets;
    private readonly TimeProvider _clock;

    /// <summary>Creates an instance with the secret that all gateways and silos of a cluster share.</summary>
    /// <param name="secret">The secret that signs.</param>
    /// <param name="clock">The clock of this process.</param>
    /// <param name="accepted">Another secret whose signatures are valid; null if there is none.</param>
    /// <exception cref="ArgumentException">A secret is too short.</exception>
    public Tickets(byte[] secret, TimeProvider clock, byte[]? accepted = null)
    {
        ArgumentNullException.ThrowIfNull(secret);
        (_secrets, _clock) = (accepted is null ? [secret] : [secret, accepted], clock);
        if (_secrets.FirstOrDefault(one => one.Length < SecretBytesMin) is { } faulty)
        {
            throw new ArgumentException(
                $"The cluster's secret has {faulty.Length} bytes; it must have at least {SecretBytesMin}.",
                nameof(secret));
        }
    }

    /// <summary>
    /// Gets how long a ticket is valid: long enough to allow for clocks that differ, and short enough that a ticket
    /// that leaks later is useless.
    /// </summary>
    public static TimeSpan TicketLife { get; } = TimeSpan.FromSeconds(30);

    /// <summary>Gets how far in the future a ticket's time may be.</summary>
    public static TimeSpan TicketSkew { get; } = TimeSpan.FromSeconds(5);

    /// <summary>Gets how long a link is valid.</summary>
    public static TimeSpan LinkLife { get; } = TimeSpan.FromMinutes(60);

    /// <summary>Gets the time, in milliseconds since 1970.</summary>
    public long Now => _clock.GetUtcNow().ToUnixTimeMilliseconds();

    /// <summary>Signs a ticket for one call.</summary>
    /// <param name="caller">The caller.</param>
    /// <param name="method">The call's HTTP method. A ticket is valid for one call only.</param>
    /// <param name="path">The call's path with its query.</param>
    /// <param name="body">The call's body as sent; empty if it has none.</param>
    /// <param name="ahead">Milliseconds by which the reader's clock is ahead of this one.</param>
    public string Sign(Caller caller, string method, string path, ReadOnlySpan<byte> body, long ahead = 0)
    {
        string text = $"{caller.Tenant?.Value ?? NoTenant}.{(caller.IsAdmin ? 1 : 0)}.{Now + ahead}.{DigestOf(body)}";
        return $"{text}.{Mac("ticket", text, method, path)}";
    }

    /// <summary>
    /// Reads a ticket. If the ticket is valid, it determines the caller and the digest that the call's body must have.
    /// The code that calls this method compares the digests before it uses the body.
    /// </summary>
    public TicketState Read(string? ticket, string method, string path, out Caller caller, out string bodyDigest)
    {
        (caller, bodyDigest) = (default, "");
        if (ticket?.Split('.') is not [var tenantText, var adminText, var timeText, var digest, var mac]
            || !IsMac(mac, "ticket", $"{tenantText}.{adminText}.{timeText}.{digest}", method, path)
            || !long.TryParse(timeText, NumberStyles.None, CultureInfo.InvariantCulture, out long time))
        {
            return TicketState.Forged;
        }

        double age = Now - time;
        if (age > TicketLife.TotalMilliseconds || age < -TicketSkew.TotalMilliseconds)
        {
            return TicketState.Stale;
        }

        TenantId? tenant = tenantText == NoTenant ? null : TenantId.TryParse(tenantText, out TenantId id) ? id : null;
        (caller, bodyDigest) = (new Caller(tenant, adminText == "1"), digest);
        return TicketState.Good;
    }

    /// <summary>Reads the ticket of a call; false if it is forged, stale, or belongs to another call or body.</summary>
    public bool TryRead(
        string? ticket, string method, string path, out Caller caller, ReadOnlySpan<byte> body = default) =>
        Read(ticket, method, path, out caller, out string digest) == TicketState.Good && digest == DigestOf(body);

    /// <summary>SHA-256 of a body, in base64url. A ticket is bound to it.</summary>
    public static string DigestOf(ReadOnlySpan<byte> body) => Base64Url.EncodeToString(SHA256.HashData(body));

    /// <summary>Signs the token of a link to a generation's picture.</summary>
    /// <param name="generation">The generation.</param>
    /// <param name="format">Format in which the picture is sent: png, jpeg or webp with a quality after a '-'.</param>
    public string Link(GenerationKey generation, string format)
    {
        string body =
            $"{generation.Tenant}.{generation.Id}.{format}.{(_clock.GetUtcNow() + LinkLife).ToUnixTimeSeconds()}";
        return $"{body}.{Mac("link", body)}";
    }

    /// <summary>Reads a link's token; false if it is forged or has expired.</summary>
    public bool TryReadLink(string? token, out GenerationKey generation, out string format)
    {
        (generation, format) = (default, "");
        if (token?.Split('.') is not [var tenant, var id, var formatText, var timeText, var mac]
            || !IsMac(mac, "link", $"{tenant}.{id}.{formatText}.{timeText}")
            || !long.TryParse(timeText, NumberStyles.None, CultureInfo.InvariantCulture, out long time)
            || _clock.GetUtcNow().ToUnixTimeSeconds() > time)
        {
            return false;
        }

        format = formatText;
        return GenerationKey.TryParse($"{tenant}/{id}", out generation);
    }

    private bool IsMac(string mac, params ReadOnlySpan<string> parts)
    {
        string text = string.Join('\n', parts);
        return _secrets.Any(secret => CryptographicOperations.FixedTimeEquals(
            Encoding.UTF8.GetBytes(mac), Encoding.UTF8.GetBytes(MacOf(secret, text))));
    }

    private string Mac(params ReadOnlySpan<string> parts) => MacOf(_secrets[0], string.Join('\n', parts));

    private static string MacOf(byte[] secret, string text) =>
        Base64Url.EncodeToString(HMACSHA256.HashData(secret, Encoding.UTF8.GetBytes(text)));
}
