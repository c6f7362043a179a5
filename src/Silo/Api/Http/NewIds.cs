// Ids that the API chooses where the client does not, and seeds that follow from ids.
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;

namespace Atelier.Silo.Api.Http;

/// <summary>Makes ids.</summary>
internal static class NewIds
{
    // Seeds that the API chooses survive JavaScript's numbers.
    private const int SeedBits = 53;

    public static GenerationId Generation() => new($"gen_{Chance()}");

    public static SessionId Session() => new($"ses_{Chance()}");

    public static string Request() => $"req_{Chance()}";

    /// <summary>The id of the image of an index, where <paramref name="first"/> is the first one's.</summary>
    public static GenerationId Image(GenerationId first, int index) =>
        index == 0 ? first : new GenerationId($"{first}-{index}");

    /// <summary>
    /// The seed of a generation whose request gives none: it follows from the id, so that a request that is sent again
    /// under the same id is the same request.
    /// </summary>
    public static ulong SeedOf(GenerationKey key) =>
        BinaryPrimitives.ReadUInt64LittleEndian(
            SHA256.HashData(Encoding.UTF8.GetBytes(key.ToString()))) >> (64 - SeedBits);

    private static string Chance() => RandomNumberGenerator.GetHexString(32, lowercase: true);
}
