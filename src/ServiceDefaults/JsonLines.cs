// The log as JSON, one object per line. .NET's own JSON format has neither the event's name nor the trace's id as
// fields of the line, by which a log store could join lines.
using System.Buffers;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Atelier.ServiceDefaults;

/// <summary>Writes each event of the log as one line of JSON. Scopes are left out.</summary>
internal sealed class JsonLines(TimeProvider clock) : ConsoleFormatter(FormatterName)
{
    /// <summary>The formatter's name, which replaces .NET's "json".</summary>
    public const string FormatterName = "atelier-json";

    // The name of the template among the values of an event.
    private const string Template = "{OriginalFormat}";

    private static readonly JsonWriterOptions s_relaxed = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Makes "json" the name of this formatter, instead of .NET's.</summary>
    public static void Replace(ConsoleLoggerOptions options)
    {
        if (options.FormatterName == ConsoleFormatterNames.Json)
        {
            options.FormatterName = FormatterName;
        }
    }

    /// <inheritdoc/>
    public override void Write<TState>(
        in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var bytes = new ArrayBufferWriter<byte>(512);
        using (var writer = new Utf8JsonWriter(bytes, s_relaxed))
        {
            writer.WriteStartObject();
            writer.WriteString("timestamp", clock.GetUtcNow().UtcDateTime);
            writer.WriteString("level", logEntry.LogLevel.ToString());
            writer.WriteString("category", logEntry.Category);
            writer.WriteNumber("event_id", logEntry.EventId.Id);
            writer.WriteString("event", logEntry.EventId.Name);
            writer.WriteString("message", logEntry.Formatter(logEntry.State, logEntry.Exception));
            if (Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity)
            {
                writer.WriteString("trace_id", activity.TraceId.ToHexString());
                writer.WriteString("span_id", activity.SpanId.ToHexString());
            }

            if (logEntry.State is IReadOnlyCollection<KeyValuePair<string, object?>> values)
            {
                WriteIds(writer, values);
                WriteValues(writer, values);
            }

            if (logEntry.Exception is { } error)
            {
                writer.WriteString("exception", error.ToString());
            }

            writer.WriteEndObject();
        }

        textWriter.WriteLine(Encoding.UTF8.GetString(bytes.WrittenSpan));
    }

    // Tenant and generation as traces name them. The key of a generation is its tenant and its id with a slash between.
    private static void WriteIds(Utf8JsonWriter writer, IReadOnlyCollection<KeyValuePair<string, object?>> values)
    {
        foreach ((string name, object? value) in values)
        {
            if (name == "Tenant" && value is not null)
            {
                writer.WriteString("tenant", value.ToString());
            }
            else if (name == "Generation" && value?.ToString()?.Split('/') is [var tenant, var id])
            {
                writer.WriteString("tenant", tenant);
                writer.WriteString("generation", id);
            }
        }
    }

    private static void WriteValues(Utf8JsonWriter writer, IReadOnlyCollection<KeyValuePair<string, object?>> values)
    {
        writer.WriteStartObject("values");
        foreach ((string name, object? value) in values)
        {
            if (name != Template)
            {
                writer.WritePropertyName(name);
                WriteValue(writer, value);
            }
        }

        writer.WriteEndObject();
    }

    private static void WriteValue(Utf8JsonWriter writer, object? value)
    {
        switch (value)
        {
            case null:
                writer.WriteNullValue();
                break;
            case bool flag:
                writer.WriteBooleanValue(flag);
                break;
            case int or long or short or byte or sbyte or ushort or uint:
                writer.WriteNumberValue(Convert.ToInt64(value, CultureInfo.InvariantCulture));
                break;
            case double number when double.IsFinite(number):
                writer.WriteNumberValue(number);
                break;
            default:
                writer.WriteStringValue(Convert.ToString(value, CultureInfo.InvariantCulture));
                break;
        }
    }
}
