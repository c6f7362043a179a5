// Goal: nobody accidentally changes what silos of two versions send each other, and silos of the release before are
// understood. Method: all grain interfaces, their methods and all serialized types are listed with their wire names,
// ids and defaults, and compared with a checked-in text, and with that of the release before. Removed entries stay in
// the text, marked RETIRED, so that the name or id is never used again.
using System.Reflection;
using Atelier.Contracts.Generations;
using Xunit;

namespace Atelier.Contracts.Tests;

/// <summary>Compares OrleansContracts.txt with the assembly; with ATELIER_ACCEPT=1 rewrites it.</summary>
public sealed class ContractsApprovalTests
{
    private static readonly Type[] s_types =
        [.. ContractList.Types(typeof(GenerationSpec).Assembly).Where(type => type.IsVisible)];

    [Fact]
    public void Contracts_AreThoseThatWereApproved() =>
        ContractList.AreApproved(ContractList.Lines(s_types), ContractList.Beside("OrleansContracts.txt"));

    // A call of a method that a worker does not know is lost; those that were added are hints.
    [Fact]
    public void Contracts_AreUnderstoodByTheReleaseBefore() => ContractList.AreCompatible(
        ContractList.Lines(s_types), ContractList.Beside("OrleansContracts.Released.txt"), "atelier.IWorkerGrain");

    [Fact]
    public void EveryMessage_NamesItselfAndNumbersItsMembers()
    {
        foreach (Type type in s_types.Where(ContractList.IsMessage))
        {
            Assert.True(type.GetCustomAttribute<AliasAttribute>() is not null, $"{type.Name} has no [Alias].");
            PropertyInfo[] stored = [.. ContractList.Stored(type)];
            Assert.All(
                stored, p => Assert.True(ContractList.Number(p) is not null, $"{type.Name}.{p.Name} has no [Id]."));
            Assert.Equal(stored.Length, stored.Select(ContractList.Number).Distinct().Count());
        }
    }

    [Fact]
    public void EveryGrainInterface_NamesItselfAndItsMethods()
    {
        Assert.Contains(s_types, ContractList.IsGrain);
        foreach (Type type in s_types.Where(ContractList.IsGrain))
        {
            Assert.True(type.GetCustomAttribute<AliasAttribute>() is not null, $"{type.Name} has no [Alias].");
            Assert.All(
                ContractList.Methods(type),
                m =>
                    Assert.True(
                        m.GetCustomAttribute<AliasAttribute>() is not null, $"{type.Name}.{m.Name} has no [Alias]."));
        }
    }
}
