// Goal: whatever a released version has stored or sent can be read by every later one. Method: a checked-in file for
// each released format holds every stored state and every message as the production serializer wrote it then; each is
// decoded and compared member by member. A format's file never changes once it is released.
using System.Collections;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Atelier.Contracts.Generations;
using Atelier.Grains.Generations;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Orleans.Storage;
using Xunit;

namespace Atelier.Grains.Tests.Formats;

/// <summary>
/// Decodes Format0.json, Format1.json, ...; ATELIER_FORMAT=N writes the file of a format that does not have one yet.
/// </summary>
public sealed class FormatTests
{
    private static readonly JsonSerializerOptions s_indented = new()
    {
        WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static readonly OrleansGrainStorageSerializer s_serializer = new(
        new ServiceCollection().AddSerializer().BuildServiceProvider().GetRequiredService<Serializer>());

    private static readonly Type[] s_types =
    [
        .. typeof(GenerationSpec).Assembly.GetTypes().Concat(typeof(GenerationState).Assembly.GetTypes())
            .Where(type => !type.IsEnum && !type.IsAssignableTo(typeof(Exception))
                && type.GetCustomAttribute<GenerateSerializerAttribute>() is not null
                && type.Namespace?.StartsWith("Atelier.", StringComparison.Ordinal) == true)
            .OrderBy(Alias, StringComparer.Ordinal),
    ];

    [Fact]
    public void EveryStoredStateAndMessage_OfEveryReleasedFormat_IsDecoded()
    {
        if (Environment.GetEnvironmentVariable("ATELIER_FORMAT") is { Length: > 0 } number
            && !File.Exists(PathOf(number)))
        {
            File.WriteAllText(
                PathOf(number), new JsonArray([.. s_types.SelectMany(Written)]).ToJsonString(s_indented) + "\n");
        }

        string[] files = Directory.GetFiles(Path.GetDirectoryName(PathOf("0"))!, "Format*.json");
        Assert.Contains(PathOf("0"), files);
        foreach (string file in files)
        {
            int entries = 0;
            foreach (JsonNode? entry in JsonNode.Parse(File.ReadAllText(file))!.AsArray())
            {
                string alias = (string)entry!["type"]!;
                Type type = Array.Find(s_types, type => Alias(type) == alias)
                    ?? throw new InvalidOperationException(
                        $"{Path.GetFileName(file)} has {alias}, and nothing reads it today.");
                object? decoded = Read(type, Convert.FromBase64String((string)entry["bytes"]!));
                AssertHolds(entry["members"], Members(decoded), $"{alias} ({entry["sample"]})");
                AssertStandard(type, (JsonObject)entry["members"]!, decoded!);
                entries++;
            }

            Assert.True(entries >= 90, $"{Path.GetFileName(file)} has {entries} entries.");
        }
    }

    private static IEnumerable<JsonNode?> Written(Type type)
    {
        int next = 0;
        foreach ((string sample, object value) in new[] { ("empty", Empty(type)), ("full", Full(type, ref next)!) })
        {
            byte[] bytes = Write(type, value);
            yield return new JsonObject
            {
                ["type"] = Alias(type), ["sample"] = sample, ["bytes"] = Convert.ToBase64String(bytes),
                ["members"] = Members(Read(type, bytes)),
            };
        }
    }

    // Members that have another name in the sources since; the number is what is stored.
    private static readonly Dictionary<string, string> s_renamed = new(StringComparer.Ordinal)
    {
        ["9 BarrenClaims"] = "9 ClaimsWithoutProgress",
    };

    private static void AssertHolds(JsonNode? expected, JsonNode? actual, string where)
    {
        switch (expected)
        {
            case JsonObject members:
                foreach ((string id, JsonNode? member) in members)
                {
                    AssertHolds(member, actual?[s_renamed.GetValueOrDefault(id, id)], $"{where}#{id}");
                }

                break;
            case JsonArray list:
                Assert.True(list.Count == (actual as JsonArray)?.Count, $"{where} has {actual}, not {list}.");
                for (int i = 0; i < list.Count; i++)
                {
                    AssertHolds(list[i], actual![i], $"{where}[{i}]");
                }

                break;
            default:
                Assert.True(JsonNode.DeepEquals(expected, actual), $"{where} is {actual}, and was {expected}.");
                break;
        }
    }

    // A member that the format does not have has the default of a new value, not null and not 0.
    private static void AssertStandard(Type type, JsonObject known, object decoded)
    {
        string[] ids = [.. known.Select(member => s_renamed.GetValueOrDefault(member.Key, member.Key))];
        foreach (PropertyInfo property in Stored(type).Where(property => !ids.Contains(Id(property))))
        {
            JsonNode? standard = Members(property.GetValue(Empty(type))), now = Members(property.GetValue(decoded));
            Assert.True(
                JsonNode.DeepEquals(standard, now),
                $"{Alias(type)}#{Id(property)} is {now} where it is missing, not {standard}.");
        }
    }

    private static byte[] Write(Type type, object value) => (byte[])typeof(FormatTests)
        .GetMethod(nameof(WriteAs), BindingFlags.NonPublic | BindingFlags.Static)!.MakeGenericMethod(type).Invoke(
            null, [value])!;

    private static byte[] WriteAs<T>(T value) => s_serializer.Serialize(value).ToArray();

    private static object? Read(Type type, byte[] bytes) => typeof(FormatTests)
        .GetMethod(nameof(ReadAs), BindingFlags.NonPublic | BindingFlags.Static)!.MakeGenericMethod(type).Invoke(
            null, [bytes]);

    private static object? ReadAs<T>(byte[] bytes) => s_serializer.Deserialize<T>(BinaryData.FromBytes(bytes));

    // The content of a value, by the ids and names of its members.
    private static JsonNode? Members(object? value) => value switch
    {
        null => null,
        string text => text,
        bool flag => flag,
        Enum or int or long or ulong => Convert.ToDecimal(value, null),
        double number => number,
        DateTimeOffset time => time.ToString("O"),
        TimeSpan span => span.ToString("c"),
        IDictionary map => new JsonArray([.. map.Keys.Cast<object>().Select(key =>
            (JsonNode)new JsonArray(Members(key), Members(map[key])))]),
        IEnumerable list => new JsonArray([.. list.Cast<object?>().Select(Members)]),
        _ => new JsonObject(Stored(value.GetType()).Select(property => new KeyValuePair<string, JsonNode?>(
            Id(property), Members(property.GetValue(value))))),
    };

    // A value before anything is set.
    private static object Empty(Type type) => type.IsValueType || type.GetConstructor(Type.EmptyTypes) is not null
        ? Activator.CreateInstance(type)!
        : RuntimeHelpers.GetUninitializedObject(type);

    // A value with every member set to something different.
    private static object? Full(Type type, ref int next)
    {
        if (Nullable.GetUnderlyingType(type) is { } inner)
        {
            return Full(inner, ref next);
        }

        next++;
        if (type == typeof(string))
        {
            return $"text {next}";
        }

        if (type == typeof(bool))
        {
            return true;
        }

        if (type == typeof(DateTimeOffset))
        {
            return DateTimeOffset.UnixEpoch.AddHours(next);
        }

        if (type == typeof(TimeSpan))
        {
            return TimeSpan.FromMinutes(next);
        }

        if (type.IsEnum)
        {
            Array values = Enum.GetValues(type);
            return values.GetValue(values.Length - 1);
        }

        if (type.IsPrimitive)
        {
            return Convert.ChangeType(next + (type == typeof(double) ? 0.5 : 0), type, null);
        }

        if (type.IsArray)
        {
            var array = Array.CreateInstance(type.GetElementType()!, 2);
            array.SetValue(Full(type.GetElementType()!, ref next), 0);
            array.SetValue(Full(type.GetElementType()!, ref next), 1);
            return array;
        }

        object value = Empty(type);
        if (value is IEnumerable)
        {
            Type[] of = type.GetGenericArguments();
            MethodInfo add = type.GetMethod("Add", of)!;
            for (int i = 0; i < 2; i++)
            {
                object?[] arguments = new object?[of.Length];
                for (int k = 0; k < of.Length; k++)
                {
                    arguments[k] = Full(of[k], ref next);
                }

                add.Invoke(value, arguments);
            }

            return value;
        }

        foreach (PropertyInfo property in Stored(type))
        {
            property.SetValue(value, Full(property.PropertyType, ref next));
        }

        return value;
    }

    private static IEnumerable<PropertyInfo> Stored(Type type) => type
        .GetProperties(BindingFlags.Public | BindingFlags.Instance)
        .Where(property => property.GetCustomAttribute<IdAttribute>() is not null)
        .OrderBy(property => property.GetCustomAttribute<IdAttribute>()!.Id);

    // With the name, so that two members that swap places are noticed. A renamed member keeps its old name here.
    private static string Id(PropertyInfo property) =>
        $"{property.GetCustomAttribute<IdAttribute>()!.Id} {property.Name}";

    private static string Alias(Type type) => type.GetCustomAttribute<AliasAttribute>(inherit: false)!.Alias;

    private static string PathOf(string format, [CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, $"Format{format}.json");
}
