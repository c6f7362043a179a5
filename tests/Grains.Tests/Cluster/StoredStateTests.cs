// Goal: nobody changes what is stored by accident, and what is stored can be read back. Method: all serialized types of
// the grains are listed with their ids and compared with a checked-in text; ATELIER_ACCEPT=1 rewrites it.
using System.Reflection;
using System.Runtime.CompilerServices;
using Atelier.Grains.Generations;
using Xunit;

namespace Atelier.Grains.Tests.Cluster;

public sealed class StoredStateTests
{
    private static readonly Type[] s_types =
    [
        .. typeof(GenerationState).Assembly.GetTypes().Where(type =>
            type.GetCustomAttribute<GenerateSerializerAttribute>() is not null
            && type.Namespace!.StartsWith("Atelier.Grains", StringComparison.Ordinal)),
    ];

    [Fact]
    public void StoredStates_AreThoseThatWereApproved()
    {
        string[] now = [.. Lines().Order(StringComparer.Ordinal)];
        if (Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1")
        {
            File.WriteAllLines(Approved(), now);
        }

        Assert.Equal(File.ReadAllLines(Approved()), now);
    }

    [Fact]
    public void StoredStates_NameThemselvesAndNumberTheirMembers()
    {
        Assert.NotEmpty(s_types);
        Assert.All(s_types, type => Assert.NotNull(type.GetCustomAttribute<AliasAttribute>()));
        Assert.All(s_types.SelectMany(Stored), property => Assert.NotNull(property.GetCustomAttribute<IdAttribute>()));
    }

    private static IEnumerable<string> Lines() =>
        from type in s_types
        from property in Stored(type)
        let alias = type.GetCustomAttribute<AliasAttribute>()!.Alias
        select $"{alias}#{property.GetCustomAttribute<IdAttribute>()!.Id} {property.Name} {property.PropertyType.Name}";

    private static IEnumerable<PropertyInfo> Stored(Type type) =>
        type.IsEnum ? [] : type.GetProperties().Where(property => property.SetMethod is not null);

    private static string Approved([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "StoredStates.txt");
}
