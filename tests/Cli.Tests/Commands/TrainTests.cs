// Goal: a training that is stopped and killed in the ways people and machines do it ends with the same weights; what
// cannot work is reported before anything is written. Method: the real program on sixteen toy samples.
using System.Diagnostics;
using System.Runtime.InteropServices;
using Atelier.Model.Data.Mds;

namespace Atelier.Cli.Tests.Commands;

public sealed class TrainTests
{
    private const int Samples = 16;

    internal const string Stage =
        """
        exp_name: toy
        seed: 3
        model:
          dit_arch: custom
          dim: 32
          depth: 2
          head_dim: 16
          multiple_of: 16
          patch_mixer_depth: 1
          patch_mixer_dim: 32
          num_experts: 4
          in_channels: 4
          caption_channels: 8
          latent_res: 8
          p_mean: -0.6
          p_std: 1.2
          train_mask_ratio: 0.5
          dtype: float32
        dataset:
          image_size: 64
          caption_length: 4
          train_batch_size: 4
          train:
            datadir: [data]
        optimizer:
          lr: 1.0e-3
        scheduler:
          name: cosine
          t_warmup: 5ba
        algorithms:
          ema:
            smoothing: 0.9
            ema_start: 2ba
        trainer:
          max_duration: 400ba
          save_interval: 7ba
          save_num_checkpoints_to_keep: 2
          device_train_microbatch_size: 2
          save_folder: run
        """;

    [Fact]
    public async Task Training_KilledAndStopped_EndsWithTheWeightsOfOneLeftAlone()
    {
        using var folder = new TemporaryFolder();
        WriteData(folder["data"]);
        folder.Write("stage.yaml", Stage);

        // The run that is killed has one thread.
        string whole = Weights(await AtelierProgram.RunAsync(
            folder.Path, "train", "stage.yaml", "trainer.save_folder=whole", "--threads", "3"));
        await KillAsync(folder, checkpoints: 2, process => process.Kill());
        await KillAsync(folder, checkpoints: 2, process => process.Kill());
        ProgramRun stopped = await KillAsync(folder, checkpoints: 2, process => Signal(process.Id, 15));
        Assert.Equal(130, stopped.ExitCode);
        ProgramRun last = await AtelierProgram.RunAsync(folder.Path, "train", "stage.yaml");
        Assert.Equal(whole, Weights(last));
        Assert.DoesNotContain("from batch 0 ", last.Output);
        Assert.True(File.Exists(folder["run/report.md"]));

        // TensorBoard shows every step once, although some were made twice.
        TensorBoard shown = TensorBoard.Read(folder["run/events"]);
        Assert.Equal(4, shown.Files);
        foreach (string curve in new[] { "loss", "gradient norm", "learning rate" })
        {
            Assert.Equal(Enumerable.Range(0, 400).Select(i => (long)i), shown.Steps(curve));
        }

        // A completed stage is not repeated.
        Assert.Contains(
            "complete", (await AtelierProgram.RunAsync(folder.Path, "train", "stage.yaml")).Succeeded().Output);
    }

    [Fact]
    public async Task NonFiniteSamples_AreNamed_AndOnlyTheyAreLeftOut()
    {
        using var folder = new TemporaryFolder();
        WriteData(
            folder["data"], sample => sample is 3 ? Half.NaN : null,
            sample => sample is 9 ? Half.PositiveInfinity : null);
        folder.Write("stage.yaml", Stage);
        string[] command = ["train", "stage.yaml", "trainer.max_duration=40ba"];
        ProgramRun run = (await AtelierProgram.RunAsync(folder.Path, command)).Succeeded();
        foreach (string what in new[] { "3: latents_64 holds NaN", "9: caption_latents holds infinity" })
        {
            Assert.Contains($"toy: data: sample {what}; the sample is left out of every batch", run.Error);
        }

        Assert.Contains("batch 40 of 40, 40 applied, 0 skipped, 0 undone, 20 samples left out, weights ", run.Output);
        Assert.DoesNotContain("loss NaN", run.Error);
        string report = await File.ReadAllTextAsync(folder["run/report.md"], TestContext.Current.CancellationToken);
        Assert.Contains("| batches applied | 40 of 40, 4 pictures each |", report);
        Assert.Contains("| data: sample 3 | latents_64 | NaN | 10 | ", report); // 160 samples are ten epochs.
        Assert.Contains("| data: sample 9 | caption_latents | infinity | 10 | ", report);
    }

    // Half of the samples are bad, and sometimes a whole batch is: the mean of the others is reported.
    [Fact]
    public async Task LineOfProgress_IsTheMeanOfWhatWasApplied()
    {
        using var folder = new TemporaryFolder();
        WriteData(folder["data"], sample => sample % 2 == 0 ? Half.NaN : null);
        folder.Write("stage.yaml", Stage);
        ProgramRun run = (await AtelierProgram.RunAsync(folder.Path, "train", "stage.yaml")).Succeeded();
        string[] lines = [.. run.Error.Split('\n').Where(line => line.Contains("images/s", StringComparison.Ordinal))];
        Assert.NotEmpty(lines);
        Assert.All(
            lines, line => Assert.Matches(@"  loss \d+\.\d+  \|g\| \d+\.\d+  (\d+ of \d+ not applied  )?lr ", line));
        Assert.Contains(lines, line => line.Contains(" not applied", StringComparison.Ordinal));
        Assert.Contains("none of its 4 samples can be trained on", run.Error);
    }

    [Fact]
    public async Task StageWithoutAFiniteSample_HasFailed_AndItsReportSaysWhy()
    {
        using var folder = new TemporaryFolder();
        WriteData(folder["data"], _ => Half.NaN);
        folder.Write("stages/1.yaml", Stage);
        folder.Write("stages/2.yaml", Stage.Replace("exp_name: toy", "exp_name: next", StringComparison.Ordinal));
        ProgramRun run = await AtelierProgram.RunAsync(folder.Path, "train", "stages");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains(
            "atelier: toy: the last 9 batches, up to step 8, have no sample that can be trained on. The first is data: "
            + "sample ",
            run.Error);
        Assert.DoesNotContain("learning rate", run.Error);
        Assert.DoesNotContain("next", run.Output);
        string report = await File.ReadAllTextAsync(folder["run/report.md"], TestContext.Current.CancellationToken);
        Assert.Contains("| batches skipped | 9 |", report);
        Assert.False(File.Exists(folder["run/final.safetensors"]));
    }

    [Fact]
    public async Task WrongConfigurations_AreRefused_AndNothingIsWritten()
    {
        using var folder = new TemporaryFolder();
        WriteData(folder["data"]);
        folder.Write("stage.yaml", Stage);
        (string Change, string Says)[] cases =
        [
            ("optimizer.lrr=1", "did you mean optimizer.lr?"),
            ("optimizer.lr=fast", "it must be a number from 0 to 1"),
            ("trainer.max_duration=12ep", "it must be a number of batches"),
            ("trainer.save_interval=0ba", "at least 1ba"),
            ("model.qkv_ratio=1", "it must have two"),
            ("model.train_mask_ratio=1.5", "model.train_mask_ratio"),
            ("trainer.device_train_microbatch_size=3", "a power of two times"),
            ("trainer.shards=3", "a power of two that divides the 4 samples"),
            ("trainer.shards=4", "leave out one of the two keys"),
            ("model.head_dim=7", "model"),
            ("scheduler.name=linear", "constant, cosine"),
            ("dataset.train.datadir=nowhere", "nowhere"),
            ("model.latent_res=16", "4 x 16 x 16"),
            ("dataset.image_size=128", "latents_128"),
            ("trainer.load_path=nowhere", "the stage that this one starts from is not complete"),
            ("nonsense", "key=value"),
        ];
        foreach ((string change, string says) in cases)
        {
            (await AtelierProgram.RunAsync(folder.Path, "train", "stage.yaml", change)).FailedSaying(says);
        }

        // A mistake in the last stage is found before the first one is trained, and a misspelled name is distinguished
        // from a missing one.
        folder.Write("stages/1.yaml", Stage);
        folder.Write("stages/2.YML", Stage.Replace("  depth: 2", "  dpeth: 2", StringComparison.Ordinal));
        (await AtelierProgram.RunAsync(folder.Path, "train", "stages")).FailedSaying(
            "2.YML", "model.depth", "model.dpeth may be a misspelling of it");
        Assert.False(Directory.Exists(folder["run"]));
        (await AtelierProgram.RunAsync(folder.Path, "train", "nowhere")).FailedSaying(
            "There is no file or folder nowhere.");
    }

    [Fact]
    public async Task DryRun_ShowsSizesAndTime_AndWritesNothing()
    {
        using var folder = new TemporaryFolder();
        folder.Write("stage.yaml", Stage);
        ProgramRun run =
            (await AtelierProgram.RunAsync(folder.Path, "train", "stage.yaml", "--dry-run", "optimizer.lr=0.5"))
                .Succeeded();
        Assert.Contains("optimizer.lr: 0.5", run.Lines);
        Assert.Contains("GFLOP per step", run.Output);
        Assert.Equal(["stage.yaml"], folder.Content);
    }

    // Starts the training and acts on it as soon as this many new checkpoints exist.
    private static async Task<ProgramRun> KillAsync(TemporaryFolder folder, int checkpoints, Action<Process> end)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        string run = folder["run"], before = Newest();
        using Process process = AtelierProgram.Start(folder.Path, "train", "stage.yaml", "--threads", "1");
        process.StandardInput.Close();
        Task<string> output =
            process.StandardOutput.ReadToEndAsync(token), error = process.StandardError.ReadToEndAsync(token);
        for (int seen = 0; seen < checkpoints && !process.HasExited;)
        {
            await Task.Delay(5, token);
            string now = Newest();
            seen += now == before ? 0 : 1;
            before = now;
        }

        Assert.False(process.HasExited, "The training ended before it could be stopped.");
        end(process);
        await process.WaitForExitAsync(token);
        return new ProgramRun(process.ExitCode, System.Text.Encoding.UTF8.GetBytes(await output), await error);

        string Newest() => Directory.Exists(run)
            ? Directory.GetFiles(run, "step-*.safetensors").Order(StringComparer.Ordinal).LastOrDefault("") : "";
    }

    private static string Weights(ProgramRun run) =>
        run.Succeeded().Lines.Single(line => line.Contains(", weights ", StringComparison.Ordinal))
            .Split("weights ")[1];

    internal static void WriteData(
        string folder, Func<int, Half?>? latent = null, Func<int, Half?>? caption = null, int captionNumbers = 4 * 8)
    {
        var columns = new Dictionary<string, string> { ["caption_latents"] = "bytes", ["latents_64"] = "bytes" };
        var writer = new MdsWriter(folder, columns, new MdsWriteOptions());
        for (int i = 0; i < Samples; i++)
        {
            writer.Write(new Dictionary<string, object>
            {
                ["caption_latents"] = (ReadOnlyMemory<byte>)Halves(captionNumbers, i, caption?.Invoke(i)),
                ["latents_64"] = (ReadOnlyMemory<byte>)Halves(4 * 8 * 8, i + 100, latent?.Invoke(i)),
            });
        }

        writer.Complete();
    }

    private static byte[] Halves(int count, int seed, Half? last)
    {
        var numbers = new Half[count];
        for (int i = 0; i < count; i++)
        {
            numbers[i] = (Half)Math.Sin((seed * 37) + i);
        }

        numbers[^1] = last ?? numbers[^1];
        return MemoryMarshal.AsBytes(numbers.AsSpan()).ToArray();
    }

    private static void Signal(int process, int number) => Assert.Equal(0, NativeKill(process, number));

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int NativeKill(int process, int signal);
}
