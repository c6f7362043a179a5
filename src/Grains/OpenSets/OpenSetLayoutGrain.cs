// The one thing that all silos must know of the open set, and keep for the cluster's life: the key of its hash.
using System.Security.Cryptography;
using Atelier.Contracts.OpenSets;
using Atelier.Grains.Placement;

namespace Atelier.Grains.OpenSets;

/// <summary>The layout as it is stored.</summary>
[GenerateSerializer, Alias("atelier.state.OpenSetLayout")]
internal sealed class OpenSetLayoutState
{
    /// <summary>The key of the hash; empty before it is made.</summary>
    [Id(0)]
    public byte[] Key { get; set; } = [];

    /// <summary>The most partitions that there ever were.</summary>
    [Id(1)]
    public int Partitions { get; set; } = OpenSet.PartitionsOfFormat0;
}

/// <summary>Keeps the open set's layout.</summary>
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
