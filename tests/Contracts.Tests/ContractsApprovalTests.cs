// Goal: nobody accidentally changes what silos of two versions send each other. Method: all grain interfaces, their
// methods and all serialized types are listed with their wire names and ids and compared with a checked-in text.
// Removed entries stay in the text, marked RETIRED, so that the name or id is never used again.
using System.CodeDom.Compiler;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using Atelier.Contracts.Generations;
using Xunit;

namespace Atelier.Contracts.Tests;

/// <summary>Compares OrleansContracts.txt with the assembly; with ATELIER_ACCEPT=1 rewrites it.</summary>
public sealed class ContractsApprovalTests
{
    private const string Retired = " RETIRED";
    private static readonly bool s_accept = Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1";

    // Everything in the assembly that Orleans has not generated, in any namespace.
    private static readonly Type[] s_types =
    [
        .. typeof(GenerationSpec).Assembly.GetExportedTypes()
            .Where(type => type.GetCustomAttribute<GeneratedCodeAttribute>() is null),
    ];

    [Fact]
    public void Contracts_AreThoseThatWereApproved()
    {
        string[] now = [.. Lines().Order(StringComparer.Ordinal)];
        string[] approved = File.Exists(Approved()) ? File.ReadAllLines(Approved()) : [];
        if (s_accept)
        {
            IEnumerable<string> retired = approved.Select(Name).Except(now).Select(line => line + Retired);
            File.WriteAllLines(Approved(), now.Concat(retired).Order(StringComparer.Ordinal));
            return;
        }

        string[] living = [.. approved.Where(line => !line.EndsWith(Retired, StringComparison.Ordinal))];
        Assert.True(
            now.SequenceEqual(living),
            "Contracts changed; look at it and run with ATELIER_ACCEPT=1. New: "
            + $"{string.Join("; ", now.Except(living))}. "
            + $"Gone: {string.Join("; ", living.Except(now))}.");
    }

    [Fact]
    public void RetiredNames_AreNotUsedAgain()
    {
        IEnumerable<string> retired = File.ReadAllLines(Approved())
            .Where(line => line.EndsWith(Retired, StringComparison.Ordinal)).Select(Slot);
        Assert.Empty(Lines().Select(Slot).Intersect(retired));
    }

    [Fact]
    public void EveryMessage_NamesItselfAndNumbersItsMembers()
    {
        foreach (Type type in s_types.Where(IsMessage))
        {
            Assert.True(type.GetCustomAttribute<AliasAttribute>() is not null, $"{type.Name} has no [Alias].");
            PropertyInfo[] stored = [.. Stored(type)];
            Assert.All(stored, p => Assert.True(Number(p) is not null, $"{type.Name}.{p.Name} has no [Id]."));
            Assert.Equal(stored.Length, stored.Select(Number).Distinct().Count());
        }
    }

    [Fact]
    public void EveryGrainInterface_NamesItselfAndItsMethods()
    {
        Assert.Contains(s_types, IsGrain);
        foreach (Type type in s_types.Where(IsGrain))
        {
            Assert.True(type.GetCustomAttribute<AliasAttribute>() is not null, $"{type.Name} has no [Alias].");
            Assert.All(
                Methods(type),
                m =>
                    Assert.True(
                        m.GetCustomAttribute<AliasAttribute>() is not null, $"{type.Name}.{m.Name} has no [Alias]."));
        }
    }

    private static IEnumerable<string> Lines()
    {
        foreach (Type type in s_types.Where(IsGrain))
        {
            foreach (MethodInfo method in Methods(type))
            {
                string parameters = string.Join(", ", method.GetParameters().Select(p => Readable(p.ParameterType)));
                yield return $"{Alias(type)}.{Alias(method)}({parameters}) -> {Readable(method.ReturnType)}";
            }
        }

        foreach (Type type in s_types.Where(t => IsMessage(t) && !t.IsEnum))
        {
            foreach (PropertyInfo property in Stored(type))
            {
                yield return $"{Alias(type)}#{Number(property)} {property.Name} {Readable(property.PropertyType)}";
            }
        }

        foreach (Type type in s_types.Where(t => t.IsEnum))
        {
            foreach (string name in Enum.GetNames(type))
            {
                yield return $"{Alias(type)}={Convert.ToInt32(Enum.Parse(type, name))} {name}";
            }
        }
    }

    // A method or a numbered member, which must not come back with another meaning.
    private static string Slot(string line) => line.Split(line.Contains('(', StringComparison.Ordinal) ? '(' : ' ')[0];

    private static string Name(string line) =>
        line.EndsWith(Retired, StringComparison.Ordinal) ? line[..^Retired.Length] : line;

    private static bool IsGrain(Type type) => type.IsInterface && typeof(IAddressable).IsAssignableFrom(type);

    private static bool IsMessage(Type type) => type.GetCustomAttribute<GenerateSerializerAttribute>() is not null;

    private static MethodInfo[] Methods(Type type) =>
        type.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly);

    private static IEnumerable<PropertyInfo> Stored(Type type) =>
        type.GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
            .Where(p => p.SetMethod is not null && p.GetIndexParameters().Length == 0);

    private static uint? Number(PropertyInfo property) => property.GetCustomAttribute<IdAttribute>()?.Id;

    private static string Alias(MemberInfo member) => member.GetCustomAttribute<AliasAttribute>()?.Alias ?? member.Name;

    private static string Readable(Type type)
    {
        if (Nullable.GetUnderlyingType(type) is { } inner)
        {
            return Readable(inner) + "?";
        }

        if (!type.IsGenericType)
        {
            return type.Name;
        }

        var text = new StringBuilder(type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]);
        return text.Append('<').AppendJoin(", ", type.GetGenericArguments().Select(Readable)).Append('>').ToString();
    }

    private static string Approved([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "OrleansContracts.txt");
}
