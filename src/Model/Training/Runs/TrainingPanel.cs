// Panels that show what a model has learned so far: the same few prompts, drawn at intervals.
using System.Globalization;
using Atelier.Model.Diffusion;
using Atelier.Model.Imaging;
using Atelier.Model.Pipeline;

namespace Atelier.Model.Training.Runs;

/// <summary>Draws a run's panel, with the averaged weights if there are any.</summary>
public sealed class TrainingPanel : IDisposable
{
    /// <summary>Folder of the panels, in the run's folder.</summary>
    public const string FolderName = "panel";

    private const int Columns = 8;

    private readonly StagePanel _panel;
    private readonly StageState _state;
    private readonly string _folder;
    private readonly Encoders _encoders;
    private readonly TextToImage _pipeline;

    /// <summary>Loads the encoders; the caller keeps ownership of the stage.</summary>
    /// <exception cref="RefusedFileException">An encoder is refused, or does not fit the network.</exception>
    public TrainingPanel(StagePanel panel, StageState state)
    {
        (_panel, _state, _folder) = (panel, state, Path.Combine(state.Config.Folder, FolderName));
        _encoders = Encoders.Load(panel.Encoders);
        _pipeline = new TextToImage(
            _encoders.Tokenizer, _encoders.Text, state.Network, state.Config.StepSettings.Edm, _encoders.Autoencoder,
            2 * panel.Prompts.Count);
    }

    /// <summary>Path of the panel's PNG file after a number of steps; the file need not exist.</summary>
    public string PathOf(long step) =>
        Path.Combine(_folder, step.ToString("d8", CultureInfo.InvariantCulture) + ".png");

    /// <summary>Draws the panel with the run's current weights.</summary>
    /// <returns>The sheet, and the path of its PNG file.</returns>
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
