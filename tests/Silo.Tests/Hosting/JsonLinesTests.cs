// Goal: a log in JSON has one object per line, whatever an event contains, and its ids are fields of the line. Method:
// the formatter that the services register, with events that are hard to write.
using System.Diagnostics;
using System.Text.Json;
using Atelier.Contracts;
using Atelier.ServiceDefaults;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Options;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class JsonLinesTests
{
    [Fact]
    public void AnEvent_HasItsIdsAndValuesAsFields()
    {
        using Activity activity = new Activity("request").Start();
        JsonElement line = Write(
            "A", new EventId(305, "WorkFailed"), [
                new("Worker", "silo/cpu"),
                new("Generation", new GenerationKey(new TenantId("alice"), new GenerationId("g"))), new("Count", 3),
                new("Seconds", 0.5), new("Is", true), new("Nothing", null),
                new("{OriginalFormat}", "{Worker}..."),
            ]);
        Assert.Equal("2030-01-02T00:00:00Z", line.GetProperty("timestamp").GetString());
        Assert.Equal(
            ("Warning", "A", 305, "WorkFailed", "text"),
            (Text(line, "level"), Text(line, "category"), line.GetProperty("event_id").GetInt32(), Text(line, "event"),
                Text(line, "message")));
        Assert.Equal(
            (activity.TraceId.ToHexString(), activity.SpanId.ToHexString(), "alice", "g"),
            (Text(line, "trace_id"), Text(line, "span_id"), Text(line, "tenant"), Text(line, "generation")));
        Assert.Equal(
            """{"Worker":"silo/cpu","Generation":"alice/g","Count":3,"Seconds":0.5,"Is":true,"Nothing":null}""",
            line.GetProperty("values").GetRawText());
        Assert.False(line.TryGetProperty("exception", out _));
    }

    [Fact]
    public void AnEventWithoutATraceOrAName_IsALineToo()
    {
        Assert.Null(Activity.Current);
        JsonElement line = Write("A", 0, [new("Tenant", new TenantId("alice"))]);
        Assert.False(line.TryGetProperty("trace_id", out _));
        Assert.Equal(JsonValueKind.Null, line.GetProperty("event").ValueKind);
        Assert.Equal("alice", Text(line, "tenant"));
    }

    [Fact]
    public void OddTextsAndNumbers_StayOnOneLine()
    {
        string odd = "a\r\nb\u2028\u0000\ud800\"\\ é 😀";
        JsonElement line = Write(
            odd, new EventId(1, odd), [
                new(odd, odd), new("NaN", double.NaN), new("Infinite", double.PositiveInfinity),
                new("Big", ulong.MaxValue), new("Generation", "no key"), new("Tenant", null),
            ],
            new InvalidOperationException(odd, new IOException("inner\nline")));
        string valid = odd.Replace('\ud800', '\ufffd');
        Assert.Equal(valid, Text(line.GetProperty("values"), valid));
        Assert.Equal("NaN", Text(line.GetProperty("values"), "NaN"));
        Assert.Equal("18446744073709551615", Text(line.GetProperty("values"), "Big"));
        Assert.Contains("inner\nline", Text(line, "exception"), StringComparison.Ordinal);
        Assert.False(line.TryGetProperty("generation", out _) || line.TryGetProperty("tenant", out _));
    }

    [Theory]
    [InlineData("json", "atelier-json")]
    [InlineData("simple", "simple")]
    [InlineData(null, null)]
    public void Json_IsThisFormat_AndOtherFormatsStay(string? chosen, string? used)
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder();
        builder.Configuration["Logging:Console:FormatterName"] = chosen;
        builder.AddServiceDefaults(new MetricsListener());
        using IHost host = builder.Build();
        Assert.Equal(used, host.Services.GetRequiredService<IOptions<ConsoleLoggerOptions>>().Value.FormatterName);
    }

    private static string? Text(JsonElement element, string member) => element.GetProperty(member).GetString();

    private static JsonElement Write(
        string category, EventId id, KeyValuePair<string, object?>[] values, Exception? error = null)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.AddServiceDefaults(new MetricsListener());
        builder.Services.AddSingleton<TimeProvider>(new FakeTime());
        using IHost host = builder.Build();
        ConsoleFormatter formatter = Assert.Single(
            host.Services.GetServices<ConsoleFormatter>(), one => one.Name == "atelier-json");
        using var text = new StringWriter { NewLine = "\n" };
        formatter.Write(
            new LogEntry<KeyValuePair<string, object?>[]>(
                LogLevel.Warning, category, id, values, error, (_, _) => "text"), null, text);
        string line = text.ToString();
        Assert.Equal(line.Length - 1, line.IndexOf('\n', StringComparison.Ordinal));
        return JsonDocument.Parse(line).RootElement;
    }
}
