// The secrets of a cluster in the settings of its processes: the current one, and during a rotation another one that is
// accepted as well.
namespace Atelier.Contracts.Tenants;

/// <summary>Validates the secrets of a cluster. No message repeats a secret, because messages end up in logs.</summary>
public static class ClusterSecrets
{
    private const int BytesMax = 1024;

    /// <summary>What is wrong with the secrets of a process, each fault beginning with its key.</summary>
    /// <param name="key">The key of the current secret.</param>
    /// <param name="secret">The current secret, in base64.</param>
    /// <param name="acceptedKey">The key of the other secret.</param>
    /// <param name="accepted">The other secret that is accepted, in base64; null if there is none.</param>
    public static IEnumerable<string> Faults(string key, string secret, string acceptedKey, string? accepted)
    {
        byte[]? current = BytesOf(secret), other = BytesOf(accepted ?? "");
        if (current is null)
        {
            yield return $"{key} must be {Tickets.SecretBytesMin} bytes or more in base64, the same for all silos and "
                + "gateways.";
        }

        if (accepted is not null && other is null)
        {
            yield return $"{acceptedKey} must be {Tickets.SecretBytesMin} bytes or more in base64, or not be set.";
        }
        else if (current is not null && other is not null && current.SequenceEqual(other))
        {
            yield return $"{acceptedKey} must differ from {key}: set it to the cluster's previous or next secret, or "
                + "remove it.";
        }
    }

    /// <summary>A reminder that a rotation is not over; null if no other secret is accepted.</summary>
    /// <param name="acceptedKey">The key of the other secret.</param>
    /// <param name="accepted">The other secret that is accepted; null if there is none.</param>
    public static string? Warning(string acceptedKey, string? accepted) => accepted is null
        ? null
        : $"{acceptedKey} is set: processes that know that secret are accepted as well. Remove it when the rotation is "
            + "over.";

    private static byte[]? BytesOf(string text)
    {
        Span<byte> bytes = stackalloc byte[BytesMax];
        return Convert.TryFromBase64String(text, bytes, out int length) && length >= Tickets.SecretBytesMin
            ? bytes[..length].ToArray()
            : null;
    }
}
