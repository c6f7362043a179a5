// Options of a device.
using Atelier.Configuration;
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Model.Pipeline;

namespace Atelier.Silo.Devices;

/// <summary>A silo's device, and how it is used.</summary>
[Section("Device")]
public sealed class TorchDeviceOptions
{
    /// <summary>Rows of a pass, where nothing else is said: those of one guided picture.</summary>
    public const int RowsStandard = TextToImage.CpuWidth;

    /// <summary>Gets or sets the device's name within its silo.</summary>
    /// <value>The default is "cpu".</value>
    public string Name { get; set; } = "cpu";

    /// <summary>Gets or sets the kinds of work that it does.</summary>
    /// <value>The default is all three.</value>
    [Key("Device:Work")]
    public WorkRoles Roles { get; set; } = WorkRoles.All;

    /// <summary>Gets or sets how many pictures it denoises at a time.</summary>
    /// <value>The default is 8.</value>
    [Bounds(1, WorkerTurn.SlotsMax)]
    public int Slots { get; set; } = 8;

    /// <summary>Gets or sets the rows of a forward pass: a guided picture takes two, another one.</summary>
    /// <remarks>
    /// Part of the device kind. Passes are filled up where pictures are fewer: more rows serve many pictures better,
    /// and a single one worse.
    /// </remarks>
    /// <value>The default is 2.</value>
    [Bounds(1, 1024)]
    public int Rows { get; set; } = RowsStandard;

    /// <summary>Gets or sets libtorch's threads within an operation.</summary>
    /// <remarks>Part of the device kind: how a sum is shared out may change its last bits.</remarks>
    /// <value>The default is 1.</value>
    [Bounds(1, 1024)]
    public int Threads { get; set; } = 1;

    /// <summary>Gets or sets the memory for models. The key is in MiB.</summary>
    /// <value>The default is 8192.</value>
    [Key("Device:MemoryMegabytes", Unit = 1 << 20)]
    [Bounds(1, int.MaxValue)]
    public long MemoryBytes { get; set; } = 8L << 30;

    /// <summary>Gets or sets how long an evaluation, an encoding or a decoding may take.</summary>
    /// <remarks>What takes longer ends the process, and with it all that the process holds.</remarks>
    /// <value>The default is 5 minutes.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan WorkTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>Gets or sets how long loading a model may take.</summary>
    /// <value>The default is 15 minutes.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan LoadTimeout { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>Gets or sets what becomes of a lost device: the process is the fault domain.</summary>
    /// <value>The default ends the process.</value>
    public Action<Exception> OnFault { get; set; } =
        error => Environment.FailFast("The device is lost; the process's supervisor starts it again.", error);
}

/// <summary>Checks a device's options.</summary>
internal sealed class TorchDeviceOptionsValidator : OptionsValidator<TorchDeviceOptions>
{
    public override IEnumerable<string> Warnings(TorchDeviceOptions options)
    {
        if (options.Threads > Environment.ProcessorCount)
        {
            yield return $"{Key(nameof(options.Threads))} is {options.Threads}, more than this process has processors "
                + $"({Environment.ProcessorCount}): threads wait for each other.";
        }
    }

    protected override IEnumerable<string> Faults(TorchDeviceOptions options)
    {
        if (!Names.AreValid(options.Name))
        {
            yield return $"{Key(nameof(options.Name))} is {options.Name}; it must have {Names.Rule}.";
        }

        if (options.Roles == WorkRoles.None || (options.Roles & ~WorkRoles.All) != WorkRoles.None)
        {
            yield return
                $"{Key(nameof(options.Roles))} must be one or more of encode, denoise and decode, with commas.";
        }
    }
}
