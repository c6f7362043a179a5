using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Atelier.Model.Data.Mds;

/// <summary>
/// JSON in the format of Python's <c>json.dumps(value, sort_keys=True)</c>, so that the files written here equal the
/// reference's byte for byte: sorted keys, a space after commas and colons, ASCII only.
/// </summary>
internal static class PythonJson
{
    public static byte[] Write(JsonNode? value)
    {
        var text = new StringBuilder();
        Append(text, value);
        return Encoding.ASCII.GetBytes(text.ToString());
    }

    private static void Append(StringBuilder text, JsonNode? value)
    {
        switch (value)
        {
            case JsonObject members:
                text.Append('{');
                foreach (var (name, member) in members.OrderBy(member => member.Key, StringComparer.Ordinal))
                {
                    AppendString(text.Append(text[^1] == '{' ? "" : ", "), name);
                    Append(text.Append(": "), member);
                }

                text.Append('}');
                break;
            case JsonArray items:
                text.Append('[');
                for (int i = 0; i < items.Count; i++)
                {
                    Append(text.Append(i == 0 ? "" : ", "), items[i]);
                }

                text.Append(']');
                break;
            case JsonValue scalar when scalar.GetValueKind() == JsonValueKind.String:
                AppendString(text, scalar.GetValue<string>());
                break;
            default:
                text.Append(value?.ToJsonString() ?? "null");
                break;
        }
    }

    private static void AppendString(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (char c in value)
        {
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                >= ' ' and <= '~' => text.Append(c),
                _ => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
            };
        }

        text.Append('"');
    }
}
