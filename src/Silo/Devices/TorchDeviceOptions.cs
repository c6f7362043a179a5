// What can be set about a device, and what values make sense.
using Atelier.Contracts;
using Atelier.Contracts.Queueing;
using Atelier.Model.Pipeline;

namespace Atelier.Silo.Devices;

/// <summary>How a device is used.</summary>
public sealed class TorchDeviceOptions
{
    /// <summary>Rows of a pass, where nothing else is said: those of one guided picture.</summary>
    public const int RowsStandard = TextToImage.CpuWidth;

    /// <summary>Gets or sets the device's name within its silo.</summary>
    /// <value>The default is "cpu".</value>
    public string Name { get; set; } = "cpu";

    /// <summary>Gets or sets the kinds of work that it does.</summary>
    /// <value>The default is all.</value>
    public WorkRoles Roles { get; set; } = WorkRoles.All;

    /// <summary>Gets or sets how many pictures it denoises at a time.</summary>
    /// <value>The default is 8.</value>
    public int Slots { get; set; } = 8;

    /// <summary>Gets or sets the rows of a forward pass: a guided picture takes two, another one.</summary>
    /// <remarks>
    /// Part of the device kind. Passes are filled up where pictures are fewer: more rows serve many pictures better,
    /// and a single one worse.
    /// </remarks>
    /// <value>The default is <see cref="RowsStandard"/>.</value>
    public int Rows { get; set; } = RowsStandard;

    /// <summary>Gets or sets libtorch's threads within an operation.</summary>
    /// <remarks>Part of the device kind: how a sum is shared out may change its last bits.</remarks>
    /// <value>The default is 1.</value>
    public int Threads { get; set; } = 1;

    /// <summary>Gets or sets the memory for models, in bytes.</summary>
    /// <value>The default is 8 GiB.</value>
    public long MemoryBytes { get; set; } = 8L << 30;

    /// <summary>Gets or sets how long an evaluation, an encoding or a decoding may take.</summary>
    /// <remarks>What takes longer ends the process, and with it all that the process holds.</remarks>
    /// <value>The default is 5 minutes.</value>
    public TimeSpan WorkTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>Gets or sets how long loading a model may take.</summary>
    /// <value>The default is 15 minutes.</value>
    public TimeSpan LoadTimeout { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>Gets or sets what becomes of a lost device: the process is the fault domain.</summary>
    /// <value>The default ends the process.</value>
    public Action<Exception> OnFault { get; set; } =
        error => Environment.FailFast("The device is lost; the process's supervisor starts it again.", error);

    /// <summary>What is wrong with these options, as a sentence; none if nothing is.</summary>
    public string? Fault() => this switch
    {
        _ when !Names.AreValid(Name) => $"{nameof(Name)} must be {Names.Rule}, not '{Name}'.",
        _ when Roles == WorkRoles.None || (Roles & ~WorkRoles.All) != WorkRoles.None =>
            $"{nameof(Roles)} must be one or more of Encode, Denoise and Decode, not {Roles}.",
        { Slots: < 1 or > WorkerTurn.SlotsMax } =>
            $"{nameof(Slots)} must lie in 1..{WorkerTurn.SlotsMax}, not be {Slots}.",
        { Rows: < 1 or > 1024 } => $"{nameof(Rows)} must lie in 1..1024, not be {Rows}.",
        { Threads: < 1 or > 1024 } => $"{nameof(Threads)} must lie in 1..1024, not be {Threads}.",
        { MemoryBytes: < 1 } => $"{nameof(MemoryBytes)} must be positive.",
        _ when WorkTimeout <= TimeSpan.Zero => $"{nameof(WorkTimeout)} must be positive.",
        _ when LoadTimeout <= TimeSpan.Zero => $"{nameof(LoadTimeout)} must be positive.",
        _ => null,
    };
}
