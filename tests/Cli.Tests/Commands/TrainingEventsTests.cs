// Goal: a resumed run shows every step once, and keeps what it had recorded before. Method: event files of a few steps,
// read as TensorBoard reads them.
using Atelier.Model.Imaging;
using Atelier.Model.Training.Runs;

namespace Atelier.Cli.Tests.Commands;

public sealed class TrainingEventsTests(TinyModel model) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void RepeatedSteps_ReplaceTheEarlierOnes()
    {
        Write(from: 0, to: 150);
        Write(from: 100, to: 130);
        Write(from: 100, to: 200);
        TensorBoard shown = TensorBoard.Read(_folder.Path);
        Assert.Equal(Enumerable.Range(0, 200).Select(i => (long)i), shown.Steps("loss"));
        Assert.All(shown.Events.Skip(100), one => Assert.Equal(100 + one.Step, one.Summary.Value[0].SimpleValue));
    }

    [Fact]
    public void RunThatWasKilledBeforeItsFirstCheckpoint_StartsAgain()
    {
        Write(from: 0, to: 5);
        Write(from: 0, to: 3);
        Assert.Equal([0, 1, 2], TensorBoard.Read(_folder.Path).Steps("loss"));
    }

    // If the clock was set back, the new file would sort before the old one.
    [Fact]
    public void FilesFollowEachOther_WhateverTheClockSays()
    {
        var clock = new SettableClock { Now = DateTimeOffset.UnixEpoch.AddDays(20_000) };
        Write(from: 0, to: 5, clock);
        clock.Now = clock.Now.AddDays(-8);
        Write(from: 2, to: 4, clock);
        TensorBoard shown = TensorBoard.Read(_folder.Path);
        Assert.Equal([0, 1, 2, 3], shown.Steps("loss"));
        Assert.Equal((clock.Now - DateTimeOffset.UnixEpoch).TotalSeconds, shown.Events[^1].WallTime);
    }

    // Former names consisted of ticks, the host, the process and a number.
    [Fact]
    public void FilesOfEarlierReleases_ComeFirst()
    {
        Write(from: 0, to: 5);
        string old = Path.Combine(_folder.Path, $"events.out.tfevents.{DateTime.UtcNow.Ticks}.host.name.7.1");
        File.Move(Assert.Single(Directory.GetFiles(_folder.Path)), old);
        Write(from: 3, to: 5);
        Assert.Equal([old], Directory.GetFiles(_folder.Path).Order(StringComparer.Ordinal).Take(1));
        Assert.Equal([0, 1, 2, 3, 4], TensorBoard.Read(_folder.Path).Steps("loss"));
    }

    [Fact]
    public void NonFiniteValues_AreLeftOut_AndPicturesAreKept()
    {
        using var png = new MemoryStream();
        Png.Write(png, new byte[3 * 6 * 4], 6, 4, []);
        using (var events = new TrainingEvents(_folder.Path, 0, TimeProvider.System))
        {
            events.Add("loss", double.NaN, 0);
            events.Add("loss", 1, 1);
            events.AddPicture("panel", png.ToArray(), 2);
        }

        TensorBoard shown = TensorBoard.Read(_folder.Path);
        Assert.Equal([1], shown.Steps("loss"));
        Assert.Equal([2], shown.Steps("panel"));
        var image = shown.Events[^1].Summary.Value[0].Image;
        Assert.Equal((6, 4), (image.Width, image.Height));
        Assert.Equal(png.ToArray(), image.EncodedImageString.ToByteArray());
    }

    // The panel of the checkpoint's own step was drawn before the run stopped: it is kept and not drawn again.
    [Fact]
    public async Task PanelOfTheStepThatARunResumesAt_IsStillShown()
    {
        TrainTests.WriteData(_folder["data"], captionNumbers: 16 * 32);
        _folder.Write("stage.yaml", TrainTests.Stage);
        string[] command =
        [
            "train", "stage.yaml", "model.caption_channels=32", "dataset.caption_length=16",
            "trainer.max_duration=14ba", "panel.prompts=the red", $"panel.encoders={model.Folder}",
            "panel.interval=7ba", "panel.sampling_steps=2",
        ];
        (await AtelierProgram.RunAsync(_folder.Path, command)).Succeeded();
        File.Delete(_folder["run/final.safetensors"]);
        File.Delete(Directory.GetFiles(_folder["run"], "step-*.safetensors").Order(StringComparer.Ordinal).Last());
        ProgramRun again = await AtelierProgram.RunAsync(_folder.Path, command);
        Assert.Contains("from batch 7 of 14", again.Succeeded().Output);
        TensorBoard shown = TensorBoard.Read(_folder["run/events"]);
        Assert.Equal([7, 14], shown.Steps("panel").Order());
        Assert.Equal(Enumerable.Range(0, 14).Select(i => (long)i), shown.Steps("loss"));
    }

    private void Write(int from, int to, TimeProvider? clock = null)
    {
        using var events = new TrainingEvents(_folder.Path, from, clock ?? TimeProvider.System);
        for (int step = from; step < to; step++)
        {
            events.Add("loss", from + step, step);
        }
    }

    private sealed class SettableClock : TimeProvider
    {
        public DateTimeOffset Now { get; set; }

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
