using System.Text.Json;
using System.Text.Json.Nodes;

namespace Atelier.Model.Tests.Data.Mds;

/// <summary>Finds the reference data sets, and creates folders to write into.</summary>
internal static class MdsVectors
{
    public static string Root => ReferenceData.At("mds");

    public static string Folder(string set) => Path.Combine(Root, set);

    public static JsonElement Expected(string set) =>
        JsonSerializer.Deserialize<JsonElement>(File.ReadAllBytes(Path.Combine(Root, $"{set}.expected.json")));

    public static TemporaryFolder Copy(string set)
    {
        var copy = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(Folder(set), "*", SearchOption.AllDirectories))
        {
            string target = copy[Path.GetRelativePath(Folder(set), file)];
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }

        return copy;
    }

    /// <summary>
    /// A copy of an uncompressed set, each shard a snappy block, as the reference's writer makes them.
    /// </summary>
    public static TemporaryFolder Snappy(string set)
    {
        TemporaryFolder copy = Copy(set);
        JsonNode index = JsonNode.Parse(File.ReadAllText(copy["index.json"]))!;
        foreach (JsonNode? shard in index["shards"]!.AsArray())
        {
            string raw = shard!["raw_data"]!["basename"]!.GetValue<string>();
            WriteSnappy(copy, shard, Snappier.Snappy.CompressToArray(File.ReadAllBytes(copy[raw])));
            File.Delete(copy[raw]);
        }

        File.WriteAllText(copy["index.json"], index.ToJsonString());
        return copy;
    }

    /// <summary>Writes a shard's block, and updates the shard's index entry to match the file.</summary>
    public static void WriteSnappy(TemporaryFolder folder, JsonNode shard, byte[] block)
    {
        string name = shard["raw_data"]!["basename"]!.GetValue<string>() + ".snappy";
        File.WriteAllBytes(folder[name], block);
        shard["compression"] = "snappy";
        shard["zip_data"] = new JsonObject
        {
            ["basename"] = name, ["bytes"] = block.Length, ["hashes"] = new JsonObject(),
        };
    }
}
