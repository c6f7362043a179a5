// A generation that is driven command by command, as its grain drives it: the new state replaces the old one, and the
// time of the worker's last report is kept. Times are seconds since the start.
using Atelier.Contracts;
using Atelier.Contracts.Generations;
using Atelier.Contracts.Queueing;
using Atelier.Grains.Generations;

namespace Atelier.Grains.Tests.Generations;

internal sealed class Story
{
    public const int Steps = 10;

    public static readonly GenerationKey Key = new(new TenantId("t"), new GenerationId("g"));

    private readonly GenerationMachine _machine;
    private DateTimeOffset _heardAt;
    private long _lease, _attempt;

    public Story(GenerationOptions? options = null, int previews = 0)
    {
        Options = options ?? new GenerationOptions();
        _machine = new GenerationMachine(Options);
        State = GenerationMachine.Accept(Submission(previews), 3, new GenerationCost(5, 7, 11), At(0));
    }

    public GenerationOptions Options { get; }

    public GenerationState State { get; set; }

    /// <summary>The lease of the last claim.</summary>
    public long Lease => _lease;

    public static DateTimeOffset At(double seconds) =>
        new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero) + TimeSpan.FromSeconds(seconds);

    public static BlobName Blob(string name) => new(name);

    public static Submission Submission(int previews = 0, int steps = Steps) => new()
    {
        Spec = new GenerationSpec
        {
            Model = new ModelDigest(new string('a', 64)), Prompt = "a cat", Steps = steps, Width = 64, Height = 64,
        },
        Previews = previews,
    };

    public WorkItem Item() => _machine.Item(State, Key);

    /// <summary>Claims with a lease and an attempt that nobody has used, unless they are given.</summary>
    public Outcome<ClaimAnswer> Claim(
        WorkKind kind, double at, string worker = "w", bool alone = false, string device = "cpu", long? lease = null,
        long? attempt = null)
    {
        _lease = lease ?? _lease + 1;
        _attempt = attempt ?? _attempt + 1;
        var request = new ClaimRequest(worker, _lease, kind, device, alone, _attempt);
        Outcome<ClaimAnswer> outcome = Apply(_machine.Claim(State, Key, request, _heardAt, At(at)));
        _heardAt = outcome.Answer.Outcome == ClaimOutcome.Granted ? At(at) : _heardAt;
        return outcome;
    }

    /// <summary>The last claim of a worker once more.</summary>
    public Outcome<ClaimAnswer> ClaimAgain(WorkKind kind, double at, string worker = "w", string device = "cpu") =>
        Claim(kind, at, worker, device: device, lease: _lease, attempt: _attempt);

    public Outcome<ReportOutcome> Report(
        int step, double at, string? snapshot = null, long? epoch = null, params (int Step, string Blob)[] previews) =>
        Heard(GenerationMachine.Report(State, StepReport(step, snapshot, epoch, previews)), at);

    public Outcome<ReportOutcome> Complete(string output, double at, long? epoch = null, EncodedPrompts? encoded = null)
        => Heard(GenerationMachine.Complete(State, epoch ?? State.Epoch, Blob(output), At(at), encoded), at);

    public Outcome<ReportOutcome> Release(int step, double at, string? snapshot = null, long? epoch = null) =>
        Heard(GenerationMachine.Release(State, StepReport(step, snapshot, epoch), At(at)), at);

    public Outcome<ReportOutcome> Fail(
        double at, GenerationError error = GenerationError.OutOfMemory, string message = "Too large.",
        long? epoch = null) =>
        Heard(_machine.Fail(State, epoch ?? State.Epoch, error, message, At(at)), at);

    public Outcome<bool> Cancel(double at, string? message = null) =>
        Apply(GenerationMachine.Cancel(State, At(at), message));

    public Outcome<bool> Retire(double at) => Apply(GenerationMachine.Retire(State, "Its model is gone.", At(at)));

    public Outcome<bool> Delete(double at) => Apply(GenerationMachine.Delete(State, At(at)));

    public Outcome<bool> Ensure(bool late, double at) => Apply(GenerationMachine.Ensure(State, late, At(at)));

    /// <summary>Encoded, and claimed by a denoiser at 2 s.</summary>
    public Story Denoising(string worker = "w", string device = "cpu")
    {
        Claim(WorkKind.Encode, 1);
        Complete("caption", 1);
        Claim(WorkKind.Denoise, 2, worker, device: device);
        return this;
    }

    /// <summary>Denoised, and claimed by a decoder at 3 s.</summary>
    public Story Decoding()
    {
        Denoising();
        Complete("latent", 3);
        Claim(WorkKind.Decode, 3);
        return this;
    }

    private StepReport StepReport(int step, string? snapshot, long? epoch, params (int Step, string Blob)[] previews) =>
        new()
        {
            Epoch = epoch ?? State.Epoch, Step = step, Snapshot = snapshot is null ? null : Blob(snapshot),
            Previews = previews.ToDictionary(one => one.Step, one => Blob(one.Blob)),
        };

    private Outcome<ReportOutcome> Heard(Outcome<ReportOutcome> outcome, double at)
    {
        _heardAt = outcome.Answer == ReportOutcome.Taken ? At(at) : _heardAt;
        return Apply(outcome);
    }

    private Outcome<T> Apply<T>(Outcome<T> outcome)
    {
        State = outcome.State;
        return outcome;
    }
}
