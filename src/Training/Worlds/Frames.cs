// The messages that trainers of a stage send each other. Every frame has the number of its world, and a trainer
// processes only frames of its own world.
namespace Atelier.Training.Worlds;

/// <summary>A message between trainers.</summary>
/// <param name="World">Number of the world to which the frame belongs.</param>
public abstract record Frame(int World);

/// <summary>A partial sum of one slice, from a member to the owner of the slice.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
/// <param name="Slice">Index of the slice, which is also the index of the member that owns it.</param>
/// <param name="Node">The node of the reduction tree, which says which shards are in the sum.</param>
/// <param name="Value">The partial sum.</param>
/// <typeparam name="T">Type of a slice's values.</typeparam>
public sealed record PartialFrame<T>(int World, long Step, int Slice, TreeNode Node, T Value) : Frame(World);

/// <summary>The sum of one slice over all shards, from its owner to all members and spectators.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
/// <param name="Slice">Index of the slice.</param>
/// <param name="Slices">Number of slices of this step; an earlier world may have cut the step differently.</param>
/// <param name="Value">The total.</param>
/// <typeparam name="T">Type of a slice's values.</typeparam>
public sealed record TotalFrame<T>(int World, long Step, int Slice, int Slices, T Value) : Frame(World);

/// <summary>Requests the totals of the step before the world's first one, which the sender lacks.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
public sealed record CatchUpFrame(int World, long Step) : Frame(World);

/// <summary>Asks the owner of a slice to send its totals to the sender from now on.</summary>
/// <param name="World">Number of the world.</param>
public sealed record FollowFrame(int World) : Frame(World);

/// <summary>Notifies a spectator of the first step whose total of a slice it will receive.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Slice">Index of the slice.</param>
/// <param name="FromStep">The first step.</param>
public sealed record FollowedFrame(int World, int Slice, long FromStep) : Frame(World);

/// <summary>Requests one part of a copy of a member's state as it is before a step.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
/// <param name="Part">Index of the part.</param>
/// <param name="Parts">Number of parts into which the copy is cut.</param>
public sealed record CopyFrame(int World, long Step, int Part, int Parts) : Frame(World);

/// <summary>One part of a copy of a member's state, in answer to <see cref="CopyFrame"/>.</summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">Number of steps that the state includes.</param>
/// <param name="Part">Index of the part.</param>
/// <param name="Parts">Number of parts.</param>
/// <param name="State">
/// Content of the part; null if the member is past that step, so that the spectator must request the state of a later
/// one.
/// </param>
public sealed record StateFrame(int World, long Step, int Part, int Parts, object? State) : Frame(World);

/// <summary>
/// Requests that a shard be verified before its step is applied. Every trainer that waits for the result sends the
/// request, so that the result also comes if the verifier itself sees no reason to verify the shard.
/// </summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
/// <param name="Claim">The claim in the sender's totals.</param>
public sealed record VerifyFrame(int World, long Step, ShardClaim Claim) : Frame(World);

/// <summary>
/// The result of a shard's verifier, from the verifier to all members and spectators. They apply the step only if the
/// claim in its totals is equal to this one.
/// </summary>
/// <param name="World">Number of the world.</param>
/// <param name="Step">The step.</param>
/// <param name="Claim">The verifier's claim.</param>
public sealed record VerifiedFrame(int World, long Step, ShardClaim Claim) : Frame(World);
