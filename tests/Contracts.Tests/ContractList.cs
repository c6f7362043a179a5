// What silos of two releases must agree on, as lines of text: grain interfaces with their versions and methods, and
// serialized types with the ids, types and defaults of their members. Used by Contracts.Tests and Grains.Tests.
using System.CodeDom.Compiler;
using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using Orleans.CodeGeneration;
using Xunit;

namespace Atelier.Contracts.Tests;

/// <summary>Lists contracts, and compares the list with those that were approved and released.</summary>
internal static class ContractList
{
    private const string Retired = " RETIRED";
    private const string Versioned = " version ";

    /// <summary>The types of an assembly that Orleans has not generated, in any namespace.</summary>
    public static Type[] Types(Assembly assembly) =>
    [
        .. assembly.GetTypes().Where(type => type.GetCustomAttribute<GeneratedCodeAttribute>() is null
            && type.Namespace?.StartsWith("Atelier.", StringComparison.Ordinal) == true),
    ];

    /// <summary>The lines of these types; of enums, all.</summary>
    public static IEnumerable<string> Lines(IReadOnlyList<Type> types)
    {
        foreach (Type type in types.Where(IsGrain))
        {
            yield return $"{Alias(type)}{Versioned}{type.GetCustomAttribute<VersionAttribute>()?.Version ?? 0}";
            foreach (MethodInfo method in Methods(type))
            {
                string parameters = string.Join(", ", method.GetParameters().Select(p => Readable(p.ParameterType)));
                yield return $"{Alias(type)}.{Alias(method)}({parameters}) -> {Readable(method.ReturnType)}";
            }
        }

        foreach (Type type in types.Where(t => IsMessage(t) && !t.IsEnum))
        {
            object empty = Empty(type);
            foreach (PropertyInfo property in Stored(type))
            {
                string value = $"{Readable(property.PropertyType)}{Standard(empty, property)}";
                yield return $"{Alias(type)}#{Number(property)} {property.Name} {value}";
            }
        }

        foreach (Type type in types.Where(t => t.IsEnum))
        {
            foreach (string name in Enum.GetNames(type))
            {
                yield return $"{Alias(type)}={Convert.ToInt32(Enum.Parse(type, name), null)} {name}";
            }
        }
    }

    /// <summary>
    /// Fails unless the lines are those of the approved file; with ATELIER_ACCEPT=1, rewrites it. Lines that are gone
    /// stay in it, marked, so that their names and ids are not used again.
    /// </summary>
    public static void AreApproved(IEnumerable<string> lines, string file)
    {
        string[] now = [.. lines.Order(StringComparer.Ordinal)];
        string[] approved = File.Exists(file) ? File.ReadAllLines(file) : [];
        if (Environment.GetEnvironmentVariable("ATELIER_ACCEPT") == "1")
        {
            // A version or a default that has changed is not a name that is gone.
            HashSet<string> slots = [.. now.Select(Slot)];
            IEnumerable<string> gone = approved.Where(line => IsRetired(line) || !slots.Contains(Slot(line)))
                .Select(line => IsRetired(line) ? line : line + Retired).Where(line => !now.Contains(Living(line)));
            File.WriteAllLines(file, now.Concat(gone).Order(StringComparer.Ordinal));
            return;
        }

        string[] living = [.. approved.Where(line => !IsRetired(line))];
        Assert.True(
            now.SequenceEqual(living),
            "Contracts changed; look at it and run with ATELIER_ACCEPT=1. New: "
            + $"{string.Join("; ", now.Except(living))}. Gone: {string.Join("; ", living.Except(now))}.");
        Assert.Empty(now.Select(Slot).Intersect(approved.Where(IsRetired).Select(Slot)));
    }

    /// <summary>Fails unless silos of the release before understand these contracts, and are understood.</summary>
    /// <param name="lines">The contracts.</param>
    /// <param name="file">The approved file of the release before.</param>
    /// <param name="unversioned">
    /// Interfaces of grains that stay on one silo: a call of a method that the silo does not know fails.
    /// </param>
    public static void AreCompatible(IEnumerable<string> lines, string file, params string[] unversioned)
    {
        string[] now = [.. lines], released = [.. File.ReadAllLines(file).Where(line => !IsRetired(line))];
        string[] missing = [.. released.Except(now).Where(line => !line.Contains(Versioned, StringComparison.Ordinal))];
        Assert.True(
            missing.Length == 0,
            $"Silos of the release before use what is gone or different: {string.Join("; ", missing)}.");
        Dictionary<string, int> versions = Versions(now);
        foreach ((string type, int version) in Versions(released))
        {
            bool hasMore = now.Except(released).Any(line => line.StartsWith(type + ".", StringComparison.Ordinal));
            int least = hasMore && !unversioned.Contains(type) ? version + 1 : version;
            Assert.True(
                versions[type] >= least,
                $"{type} has other methods than in the release before; it needs [Version({least})], so that silos of "
                + "that release do not get calls that they do not know.");
        }
    }

    /// <summary>The path of a file beside the caller's source.</summary>
    public static string Beside(string file, [CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, file);

    public static bool IsGrain(Type type) => type.IsInterface && typeof(IAddressable).IsAssignableFrom(type);

    public static bool IsMessage(Type type) => type.GetCustomAttribute<GenerateSerializerAttribute>() is not null;

    public static MethodInfo[] Methods(Type type) =>
        type.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly);

    public static IEnumerable<PropertyInfo> Stored(Type type) =>
        type.GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
            .Where(p => p.SetMethod is not null && p.GetIndexParameters().Length == 0);

    public static uint? Number(PropertyInfo property) => property.GetCustomAttribute<IdAttribute>()?.Id;

    /// <summary>
    /// The value of a member that is missing in what was stored or sent; empty if it is 0, false or null.
    /// </summary>
    public static string Standard(object? empty, PropertyInfo property) => property.GetValue(empty) switch
    {
        null or false => "",
        true => " = true",
        string text => $" = '{text}'",
        { } value when IsDefault(value) => "",
        IEnumerable list => list.Cast<object>().Any() ? " = items" : " = []",
        IFormattable number => $" = {number.ToString(null, CultureInfo.InvariantCulture)}",
        _ => " = object",
    };

    /// <summary>A type as a reader writes it.</summary>
    public static string Readable(Type type)
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

    private static bool IsDefault(object value) =>
        value.GetType().IsValueType && value.Equals(Activator.CreateInstance(value.GetType()));

    // As the serializer makes it, before anything is read.
    private static object Empty(Type type) => type.IsValueType || type.GetConstructor(Type.EmptyTypes) is not null
        ? Activator.CreateInstance(type)!
        : RuntimeHelpers.GetUninitializedObject(type);

    private static Dictionary<string, int> Versions(IEnumerable<string> lines) => lines
        .Select(line => line.Split(Versioned)).Where(parts => parts.Length == 2)
        .ToDictionary(parts => parts[0], parts => int.Parse(parts[1], CultureInfo.InvariantCulture));

    // A method or a numbered member, which must not come back with another meaning.
    private static string Slot(string line) => line.Split(line.Contains('(', StringComparison.Ordinal) ? '(' : ' ')[0];

    private static bool IsRetired(string line) => line.EndsWith(Retired, StringComparison.Ordinal);

    private static string Living(string line) => IsRetired(line) ? line[..^Retired.Length] : line;

    private static string Alias(MemberInfo member) =>
        member.GetCustomAttribute<AliasAttribute>(inherit: false)?.Alias ?? member.Name;
}
