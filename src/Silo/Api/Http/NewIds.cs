// Ids that the API chooses if the client does not, and seeds derived from ids.
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Atelier.Contracts;

namespace Atelier.Silo.Api.Http;

/// <summary>Makes ids.</summary>
internal static class NewIds
{
    // The API chooses seeds that JavaScript's numbers can hold exactly.
    private const int SeedBits = 53;

    public static GenerationId Generation() => new($"gen_{RandomHex()}");

    public static SessionId Session() => new($"ses_{RandomHex()}");

    public static string Request() => $"req_{RandomHex()}";

    /// <summary>The id of an image by its index, in a request whose first image is <paramref name="first"/>.</summary>
    public static GenerationId Image(GenerationId first, int index) =>
        index == 0 ? first : new GenerationId($"{first}-{index}");

    /// <summary>
    /// The seed of a generation whose request gives none. It is derived from the id, so that a retry under the same id
    /// is the same request.
    /// </summary>
    public static ulong SeedOf(GenerationKey key) =>
        BinaryPrimitives.ReadUInt64LittleEndian(
            SHA256.HashData(Encoding.UTF8.GetBytes(key.ToString()))) >> (64 - SeedBits);

    private static string RandomHex() => RandomNumberGenerator.GetHexString(32, lowercase: true);
}
