// What a model has learned so far, for people to see: the same few prompts, drawn every so often.
using System.Globalization;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;

namespace Atelier.Model.Training.Runs;

/// <summary>Draws a run's panel, with the averaged weights where there are some.</summary>
public sealed class TrainingPanel : IDisposable
{
    /// <summary>Folder of the panels, in the run's.</summary>
    public const string FolderName = "panel";

    private const int Columns = 8;

    private readonly StagePanel _panel;
    private readonly StageState _state;
    private readonly string _folder;
    private readonly Encoders _encoders;
    private readonly TextToImage _pipeline;

    /// <summary>Loads the encoders; the stage stays the caller's.</summary>
    /// <exception cref="RefusedFileException">An encoder is refused, or does not fit the network.</exception>
    public TrainingPanel(StagePanel panel, StageState state)
    {
        (_panel, _state, _folder) = (panel, state, Path.Combine(state.Config.Folder, FolderName));
        _encoders = Encoders.Load(panel.Encoders);
        _pipeline = new TextToImage(
            _encoders.Tokenizer, _encoders.Text, state.Network, state.Config.StepSettings.Edm, _encoders.Autoencoder,
            2 * panel.Prompts.Count);
    }

    /// <summary>The PNG file of the panel after so many steps, whether or not it is there.</summary>
    public string PathOf(long step) =>
        Path.Combine(_folder, step.ToString("d8", CultureInfo.InvariantCulture) + ".png");

    /// <summary>Draws the panel of the run's weights as they are now.</summary>
    /// <returns>The sheet, and the PNG file that it was written to.</returns>
    public (RgbImage Sheet, string Path) Draw()
    {
        int size = _state.Network.Config.InputSize * _encoders.Autoencoder.Config.Factor;
        var sampler = new SamplerSettings { Steps = _panel.Steps, Guidance = _panel.Guidance };
        using IDisposable average = _state.WithAverage();
        RgbImage sheet = _pipeline.DrawSheet(_panel.Prompts, _panel.Seed, sampler, size, Columns);
        Directory.CreateDirectory(_folder);
        string path = PathOf(_state.Position.Step);
        WholeFile.Write(path, file => Png.Write(file, sheet.Pixels, sheet.Width, sheet.Height, []));
        return (sheet, path);
    }

    /// <inheritdoc/>
    public void Dispose() => _encoders.Dispose();
}
