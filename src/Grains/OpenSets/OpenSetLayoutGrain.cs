// The layout of the open set, which all silos share for the life of the cluster: the key of its hash and the number of
// partitions.
using System.Security.Cryptography;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Placement;

namespace Atelier.Grains.OpenSets;

/// <summary>The stored state of the layout.</summary>
[GenerateSerializer, Alias("atelier.state.OpenSetLayout")]
internal sealed class OpenSetLayoutState
{
    /// <summary>The key of the hash; empty before it is created.</summary>
    [Id(0)]
    public byte[] Key { get; set; } = [];

    /// <summary>The highest number of partitions that was ever configured.</summary>
    [Id(1)]
    public int Partitions { get; set; } = OpenSet.PartitionsOfFormat0;
}

/// <summary>Creates and stores the open set's layout.</summary>
[GrainType("opensetlayout")]
[ControlSilo]
internal sealed class OpenSetLayoutGrain([PersistentState("layout")] IPersistentState<OpenSetLayoutState> state)
    : Grain, IOpenSetLayoutGrain
{
    private const int KeyBytes = 32;

    public async Task<OpenSetLayout> ReadAsync(int partitions)
    {
        OpenSetLayoutState layout = state.State;
        if (layout.Key.Length == 0 || partitions > layout.Partitions)
        {
            layout.Key = layout.Key.Length == 0 ? RandomNumberGenerator.GetBytes(KeyBytes) : layout.Key;
            layout.Partitions = Math.Max(partitions, layout.Partitions);
            await state.WriteOrDeactivateAsync(this);
        }

        return new OpenSetLayout(layout.Key, layout.Partitions);
    }
}
