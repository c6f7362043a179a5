// The options of a device.
using Atelier.Configuration;
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Model.Pipeline;

namespace Atelier.Silo.Devices;

/// <summary>A silo's device.</summary>
[Section("Device")]
public sealed class TorchDeviceOptions
{
    /// <summary>Default number of rows of a forward pass: the rows of one guided picture.</summary>
    public const int RowsStandard = TextToImage.CpuWidth;

    /// <summary>Gets or sets the device's name within its silo.</summary>
    /// <value>The default is "cpu".</value>
    public string Name { get; set; } = "cpu";

    /// <summary>Gets or sets the kinds of work that the device does.</summary>
    /// <value>The default is all three: encode, denoise and decode.</value>
    [Key("Device:Work")]
    public WorkRoles Roles { get; set; } = WorkRoles.All;

    /// <summary>Gets or sets the maximum number of pictures that the device denoises at once.</summary>
    /// <value>The default is 8.</value>
    [Bounds(1, WorkerTurn.SlotsMax)]
    public int Slots { get; set; } = 8;

    /// <summary>
    /// Gets or sets the fixed number of rows of every forward pass. A guided picture takes two rows, an unguided one
    /// takes one.
    /// </summary>
    /// <remarks>
    /// It is part of the device kind, because it may change the last bits of a result. Rows that no picture uses are
    /// padding, so a larger value makes many pictures faster and a single picture slower.
    /// </remarks>
    /// <value>The default is 2.</value>
    [Bounds(1, 1024)]
    public int Rows { get; set; } = RowsStandard;

    /// <summary>Gets or sets the number of threads that libtorch uses within an operation.</summary>
    /// <remarks>It is part of the device kind, because splitting a sum over threads may change its last bits.</remarks>
    /// <value>The default is 1.</value>
    [Bounds(1, 1024)]
    public int Threads { get; set; } = 1;

    /// <summary>Gets or sets the memory for models. The key is in MiB.</summary>
    /// <value>The default is 8192.</value>
    [Key("Device:MemoryMegabytes", Unit = 1 << 20)]
    [Bounds(1, int.MaxValue)]
    public long MemoryBytes { get; set; } = 8L << 30;

    /// <summary>Gets or sets the time limit of an evaluation, an encoding or a decoding.</summary>
    /// <remarks>Work that exceeds the limit ends the process, with everything that the process holds.</remarks>
    /// <value>The default is 5 minutes.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan WorkTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Gets or sets the time limit of loading a model, or of building the network of a training stage.
    /// </summary>
    /// <value>The default is 15 minutes.</value>
    [Bounds("00:00:00.001", "1.00:00:00")]
    public TimeSpan LoadTimeout { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>
    /// Gets or sets the handler that is called when the device is lost. The fault domain is the process.
    /// </summary>
    /// <value>The default handler ends the process.</value>
    public Action<Exception> OnFault { get; set; } =
        error => Environment.FailFast("The device is lost; the process exits to be restarted.", error);
}

/// <summary>Validates a device's options.</summary>
internal sealed class TorchDeviceOptionsValidator : OptionsValidator<TorchDeviceOptions>
{
    public override IEnumerable<string> Warnings(TorchDeviceOptions options)
    {
        if (options.Threads > Environment.ProcessorCount)
        {
            yield return $"{Key(nameof(options.Threads))} is {options.Threads}, but this process has only "
                + $"{Environment.ProcessorCount} processors: threads wait for each other.";
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
                $"{Key(nameof(options.Roles))} must be one or more of encode, denoise and decode, separated by commas.";
        }
    }
}
