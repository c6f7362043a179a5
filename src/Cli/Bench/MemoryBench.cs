// The memory that one evaluation needs in addition to the weights. One process writes the weights and another reads
// them, so that the measured peak covers only loading and evaluating.
using System.Diagnostics;
using System.Globalization;
using Atelier.Cli.Verify;
using Atelier.Model.Networks;
using Atelier.Model.Weights;
using static TorchSharp.torch;

namespace Atelier.Cli.Bench;

/// <summary>Memory and time of one evaluation.</summary>
/// <param name="WeightBytes">Size of the weights, in bytes.</param>
/// <param name="PeakBytes">Peak resident memory of the process that loaded and evaluated, in bytes.</param>
/// <param name="LoadSeconds">Time to load.</param>
/// <param name="ForwardSeconds">Time of the evaluation.</param>
public sealed record MemoryFigures(long WeightBytes, long PeakBytes, double LoadSeconds, double ForwardSeconds)
{
    /// <summary>Peak memory divided by the size of the weights.</summary>
    public double Ratio => (double)PeakBytes / WeightBytes;
}

/// <summary>Measures memory.</summary>
public static class MemoryBench
{
    /// <summary>Writes a preset's weights, computed by formula, to a safetensors file.</summary>
    public static void WriteWeights(string preset, string path)
    {
        using var network = new MicroDiT(MicroDiTConfig.Preset(preset));
        FormulaWeights.Fill(network, "");
        StateDictFile.Save(network, path);
    }

    /// <summary>Loads weights into a preset's network and evaluates it once, in this process.</summary>
    public static MemoryFigures Measure(string preset, string path)
    {
        MicroDiTConfig config = MicroDiTConfig.Preset(preset);
        long start = Stopwatch.GetTimestamp();
        using var network = new MicroDiT(config);
        using (IWeightSource source = WeightFile.Open(path))
        {
            StrictLoader.Load(network, source);
        }

        double load = Stopwatch.GetElapsedTime(start).TotalSeconds;
        start = Stopwatch.GetTimestamp();
        using (inference_mode())
        using (NewDisposeScope())
        {
            using CaptionContext caption = network.Caption(randn(1, 77, config.CaptionChannels));
            network.call(randn(1, config.InChannels, config.InputSize, config.InputSize), zeros(1), caption);
        }

        return new MemoryFigures(
            network.parameters().Sum(p => p.numel() * p.ElementSize), PeakResidentBytes(), load,
            Stopwatch.GetElapsedTime(start).TotalSeconds);
    }

    /// <summary>Peak resident memory of this process so far, in bytes.</summary>
    public static long PeakResidentBytes()
    {
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        string kilobytes = line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        return long.Parse(kilobytes, CultureInfo.InvariantCulture) * 1024;
    }
}
