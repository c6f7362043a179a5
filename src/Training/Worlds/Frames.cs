// What trainers of a stage send each other. Every frame names its world; a trainer takes frames of its own world only.
namespace Atelier.Training.Worlds;

/// <summary>A message between trainers.</summary>
/// <param name="World">Number of the world that it belongs to.</param>
public abstract record Frame(int World);

/// <summary>A node of the reduction tree of one slice, for the owner of the slice.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step.</param>
/// <param name="Slice">The slice: the index of the member that owns it.</param>
/// <param name="Node">The node: which shards are in the sum.</param>
/// <param name="Value">The sum.</param>
/// <typeparam name="T">The values of a slice.</typeparam>
public sealed record PartialFrame<T>(int World, long Step, int Slice, TreeNode Node, T Value) : Frame(World);

/// <summary>The sum of all shards of one slice, from its owner to all who follow.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step.</param>
/// <param name="Slice">The slice.</param>
/// <param name="Slices">Number of slices of this step; an earlier world may have cut it differently.</param>
/// <param name="Value">The total.</param>
/// <typeparam name="T">The values of a slice.</typeparam>
public sealed record TotalFrame<T>(int World, long Step, int Slice, int Slices, T Value) : Frame(World);

/// <summary>Asks for the totals of the step before the world's first one, which the sender lacks.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step.</param>
public sealed record CatchUpFrame(int World, long Step) : Frame(World);

/// <summary>Asks an owner for the totals of its slice from now on.</summary>
/// <param name="World">The world.</param>
public sealed record FollowFrame(int World) : Frame(World);

/// <summary>Tells a spectator the first step whose total of a slice it will receive.</summary>
/// <param name="World">The world.</param>
/// <param name="Slice">The slice.</param>
/// <param name="FromStep">The first step.</param>
public sealed record FollowedFrame(int World, int Slice, long FromStep) : Frame(World);

/// <summary>Asks a member for a part of a copy of its state as it is before a step.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step.</param>
/// <param name="Part">The part.</param>
/// <param name="Parts">Number of parts into which the copy is cut.</param>
public sealed record CopyFrame(int World, long Step, int Part, int Parts) : Frame(World);

/// <summary>A part of a copy of a member's state.</summary>
/// <param name="World">The world.</param>
/// <param name="Step">Steps that are in it.</param>
/// <param name="Part">The part.</param>
/// <param name="Parts">Number of parts.</param>
/// <param name="State">The part; null if the member is past that step: the spectator asks for a later one.</param>
public sealed record StateFrame(int World, long Step, int Part, int Parts, object? State) : Frame(World);

/// <summary>
/// What the verifier of a shard computed for it, to all who follow: the step is applied only if the claim in its totals
/// is the same.
/// </summary>
/// <param name="World">The world.</param>
/// <param name="Step">The step.</param>
/// <param name="Claim">The verifier's claim.</param>
public sealed record VerifiedFrame(int World, long Step, ShardClaim Claim) : Frame(World);
