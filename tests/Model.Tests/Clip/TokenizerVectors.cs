using System.Runtime.CompilerServices;
using System.Text.Json;
using Atelier.Model.Clip;
using Xunit;

namespace Atelier.Model.Tests.Clip;

/// <summary>
/// The tokenizer's vectors, and CLIP's vocabulary, which is not part of the repository: it is read from its place in
/// the reference data, or from the file that <c>ATELIER_VOCABULARY</c> names.
/// </summary>
internal static class TokenizerVectors
{
    private static readonly string? s_vocabulary =
        new[]
        {
            Environment.GetEnvironmentVariable("ATELIER_VOCABULARY"),
            ReferenceData.At("clip", "bpe_simple_vocab_16e6.txt.gz"),
        }.FirstOrDefault(File.Exists);

    private static readonly Lazy<ClipTokenizer> s_published = new(LoadPublished);

    /// <summary>The tokenizer of the published vocabulary. Skips the test if the vocabulary is missing.</summary>
    public static ClipTokenizer Published
    {
        get
        {
            Assert.SkipWhen(
                s_vocabulary is null, "CLIP's published vocabulary is not here; see tests/reference/README.md.");
            return s_published.Value;
        }
    }

    public static bool HasPublished => s_vocabulary is not null;

    public static ClipTokenizer LoadPublished() => ClipTokenizer.Load(s_vocabulary!);

    public static JsonElement Read(string name, [CallerFilePath] string here = "") =>
        JsonSerializer.Deserialize<JsonElement>(
            File.ReadAllBytes(Path.Combine(Path.GetDirectoryName(here)!, "Vectors", name)));
}
