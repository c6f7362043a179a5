// Goal: the bytes of the demo model's parts, and of their checkpoints, do not change with the code that trains them.
// Method: every part of toy size in both precisions, stopped after its first step and resumed, on one thread of this
// program as a child process, whose libraries are restricted to the instructions that every x86-64 processor has: with
// others the order of sums, and so the bits, differs between processors. The digests are those of the trainings before
// they shared their code with the training of stages, but for the second training of the CLIP model, which is newer.
// oneDNN divides a convolution by the size of the caches, so the float32 decoder has other bits on a processor with 2
// MiB of L2 cache per core.
using System.Diagnostics;
using System.Security.Cryptography;
using Atelier.Shapes.Making;
using Atelier.Shapes.Tests.Making;
using Atelier.Shapes.Training;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Training;

public sealed class PartBytesTests : IDisposable
{
    // Names the file to which the child process writes its digests.
    private const string Variable = "ATELIER_PART_DIGESTS";

    private const string Expected = """
        float32 autoencoder.checkpoint 2c67a0bb54e44dd7
        float32 decoder.checkpoint 01a115a9ccac258f
        float32 autoencoder.joint.safetensors 7e433312f0b7b8c9
        float32 autoencoder.safetensors 73fe15c5bc9c1aed
        float32 autoencoder.json 5b935bcd9a0756ef
        float32 clip.checkpoint 16ccd1212af656a1
        float32 binding.checkpoint 0ea0a368e39af18f
        float32 clip.contrast.safetensors 03ceb776f0a51936
        float32 clip.safetensors 417e645ce6c492ba
        float32 oracle.checkpoint eba21cf9a6790e16
        float32 oracle.safetensors 370a43aee5608859
        bfloat16 autoencoder.checkpoint 77038c530835b9a6
        bfloat16 decoder.checkpoint fd2f69c6375ebb07
        bfloat16 autoencoder.joint.safetensors 741d874eebd1f094
        bfloat16 autoencoder.safetensors 886f6de940d6997b
        bfloat16 autoencoder.json d8373c95d2987acd
        bfloat16 clip.checkpoint 408f55afc001be1e
        bfloat16 binding.checkpoint fd88e39bdc5c7740
        bfloat16 clip.contrast.safetensors fc4235d9b5ff319a
        bfloat16 clip.safetensors ba9c5d660a3d592e
        bfloat16 oracle.checkpoint 7670dd96284adad2
        bfloat16 oracle.safetensors 9235f3ba49a8e117
        """;

    private const string Decoder = "01a115a9ccac258f", DecoderWithLargeCache = "acddbaa863ce189a";
    private const string Decoded = "73fe15c5bc9c1aed", DecodedWithLargeCache = "bcad893ccc993daa";

    // A safety net: the child needs a small fraction of it.
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(10);

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-part-bytes-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Parts_HaveTheBytesThatTheyHadBefore()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { } file)
        {
            await File.WriteAllLinesAsync(file, [.. Digests(false), .. Digests(true)], CancellationToken.None);
            return;
        }

        string digests = Path.Combine(_folder, "digests");
        await RunChildAsync(digests);
        string expected = Expected.ReplaceLineEndings("\n"), found = string.Join('\n', await File.ReadAllLinesAsync(
            digests, TestContext.Current.CancellationToken));
        string withLargeCache = expected.Replace(Decoder, DecoderWithLargeCache, StringComparison.Ordinal)
            .Replace(Decoded, DecodedWithLargeCache, StringComparison.Ordinal);
        bool isLarge = found.Contains(DecoderWithLargeCache, StringComparison.Ordinal);
        Assert.Equal(isLarge ? withLargeCache : expected, found);
    }

    private static async Task RunChildAsync(string digests)
    {
        var start = new ProcessStartInfo(
            Path.ChangeExtension(typeof(PartBytesTests).Assembly.Location, null),
            ["--filter-method", $"*.{nameof(PartBytesTests)}.{nameof(Parts_HaveTheBytesThatTheyHadBefore)}"])
        {
            UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardInput = true,
        };
        start.Environment[Variable] = digests;
        start.Environment["ATEN_CPU_CAPABILITY"] = "default";
        start.Environment["ONEDNN_MAX_CPU_ISA"] = "SSE41";
        start.Environment["MKL_CBWR"] = "COMPATIBLE";
        using Process child = Process.Start(start)!;
        child.StandardInput.Close();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(s_limit);
        try
        {
            string output = await child.StandardOutput.ReadToEndAsync(limit.Token);
            await child.WaitForExitAsync(limit.Token);
            Assert.True(child.ExitCode == 0, output);
        }
        finally
        {
            child.Kill();
        }
    }

    private IEnumerable<string> Digests(bool isBFloat16)
    {
        torch.set_num_threads(1);
        string precision = isBFloat16 ? "bfloat16" : "float32", folder = Path.Combine(_folder, precision);
        var parts = new DemoParts(folder);
        AutoencoderTrainingConfig autoencoder = ToyParts.Autoencoder with { BFloat16 = isBFloat16 };
        DecoderTrainingConfig decoder = ToyParts.Decoder with { BFloat16 = isBFloat16 };
        foreach (string name in (string[])["autoencoder", "decoder"])
        {
            // A resumed autoencoder reports its next step, its last one and the decoder's first.
            int reports = name == "autoencoder" ? 1 : 3;
            yield return Stopped(
                name, reports, (report, stop) => parts.TrainAutoencoder(autoencoder, decoder, report, stop));
        }

        parts.TrainAutoencoder(autoencoder, decoder);
        yield return Digest("autoencoder.joint.safetensors");
        yield return Digest("autoencoder.safetensors");
        yield return Digest("autoencoder.json");
        ClipTrainingConfig clip = ToyParts.Clip with { BFloat16 = isBFloat16 };
        ClipTrainingConfig binding = ToyParts.Binding with { BFloat16 = isBFloat16 };
        foreach ((string name, int reports) in new[] { ("clip", 1), ("binding", 3) })
        {
            yield return Stopped(name, reports, (report, stop) => parts.TrainClip(clip, binding, report, stop));
        }

        parts.TrainClip(clip, binding);
        yield return Digest("clip.contrast.safetensors");
        yield return Digest("clip.safetensors");
        OracleTrainingConfig oracle = ToyParts.Oracle with { BFloat16 = isBFloat16 };
        yield return Stopped("oracle", 1, (report, stop) => parts.TrainOracle(oracle, report, stop));
        parts.TrainOracle(oracle);
        yield return Digest("oracle.safetensors");

        string Stopped(string part, int reports, Action<Action<PartProgress>, CancellationToken> make)
        {
            using var stop = new CancellationTokenSource();
            int heard = 0;
            Assert.Throws<OperationCanceledException>(() => make(_ => StopAt(), stop.Token));
            return Digest($"{part}.checkpoint");

            void StopAt()
            {
                if (++heard == reports)
                {
                    stop.Cancel();
                }
            }
        }

        string Digest(string file)
        {
            byte[] hash = SHA256.HashData(File.ReadAllBytes(Path.Combine(folder, file)));
            return $"{precision} {file} {Convert.ToHexStringLower(hash)[..16]}";
        }
    }
}
