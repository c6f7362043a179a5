using System.Text.Json;
using Atelier.Model.Clip;

namespace Atelier.Model.Tests.Clip;

/// <summary>Where the tokenizer's reference data lies. The published vocabulary is not part of the repository.</summary>
internal static class TokenizerVectors
{
    private const string VocabularyName = "clip/bpe_simple_vocab_16e6.txt.gz";

    private static readonly Lazy<ClipTokenizer> Loaded = new(() => ClipTokenizer.Load(VocabularyPath()));

    private static readonly string Root = FindRoot();

    public static ClipTokenizer Tokenizer => Loaded.Value;

    public static JsonElement Read(string name)
    {
        string path = Path.Combine(Root, "tests/Model.Tests/Vectors/tokenizer", name);
        return JsonSerializer.Deserialize<JsonElement>(File.ReadAllText(path));
    }

    public static string VocabularyPath()
    {
        string beside = Path.GetFullPath(Path.Combine(Root, "../shared/reference", VocabularyName));
        string? named = Environment.GetEnvironmentVariable("ATELIER_REFERENCE");
        string? elsewhere = named is null ? null : Path.Combine(named, VocabularyName);
        return new[] { beside, elsewhere }.FirstOrDefault(File.Exists) ?? throw new FileNotFoundException(
            $"The tokenizer's tests need CLIP's vocabulary. It was looked for at {beside} and, in the folder that the "
            + $"environment variable ATELIER_REFERENCE names, at {elsewhere ?? "(the variable is not set)"}.");
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Directory.Build.props")))
            {
                return folder.FullName;
            }
        }
        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} is the repository.");
    }
}
