// The options of a process, read and checked before it opens anything. All faults are reported together. A key in one
// of its sections that sets nothing is probably misspelled; it is reported with the key that was probably meant.
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Atelier.Configuration;

/// <summary>Thrown when a process cannot start with its configuration.</summary>
public sealed class InvalidConfigurationException(string process, IReadOnlyList<string> faults)
    : Exception($"This {process} cannot start as it is configured:\n  " + string.Join("\n  ", faults))
{
    /// <summary>Gets all faults, as sentences that begin with a key.</summary>
    public IReadOnlyList<string> Faults { get; } = faults;
}

/// <summary>A process's options.</summary>
public sealed class StartOptions
{
    // Maximum edit distance between an unknown key and the known key that is suggested for it.
    private const int EditsMax = 3;

    private readonly Dictionary<Type, object> _values;

    private StartOptions(Dictionary<Type, object> values, IReadOnlyList<string> warnings) =>
        (_values, Warnings) = (values, warnings);

    /// <summary>
    /// Gets warnings about values that are allowed but unwise, and about keys that set nothing, as sentences.
    /// </summary>
    public IReadOnlyList<string> Warnings { get; }

    /// <summary>Reads and checks options.</summary>
    /// <param name="process">The kind of process, for messages: "silo", for example.</param>
    /// <param name="configuration">The configuration that sets the options.</param>
    /// <param name="add">Adds the options to services, as the process itself does.</param>
    /// <param name="others">
    /// Keys and sections that belong to other processes of the cluster. This process does not warn about them.
    /// </param>
    /// <exception cref="InvalidConfigurationException">
    /// Some options are not valid; the exception lists all faults.
    /// </exception>
    public static StartOptions Read(
        string process, IConfiguration configuration, Action<IServiceCollection> add,
        params IReadOnlyList<string> others)
    {
        var collection = new ServiceCollection();
        add(collection);
        using ServiceProvider services = collection.BuildServiceProvider();
        string[] faults = [.. Faults(services).Distinct()];
        if (faults.Length > 0)
        {
            throw new InvalidConfigurationException(process, faults);
        }

        IOptionsReport[] reports = [.. services.GetServices<IOptionsReport>()];
        OptionKey[] keys = [.. reports.SelectMany(report => OptionKey.Of(report.Options))];
        return new StartOptions(
            reports.ToDictionary(report => report.Options, report => report.Value),
            [
                .. reports.SelectMany(report => report.Warnings),
                .. Unknown(configuration, keys, others).Select(key => Suggestion(process, key, keys)),
            ]);
    }

    /// <summary>The value of an options class.</summary>
    public T Get<T>() where T : class => (T)_values[typeof(T)];

    /// <summary>The value of an options class; null if the process does not have the class.</summary>
    public object? Get(Type options) => _values.GetValueOrDefault(options);

    private static IEnumerable<string> Faults(ServiceProvider services)
    {
        try
        {
            services.GetRequiredService<IStartupValidator>().Validate();
            return [];
        }
        catch (OptionsValidationException error)
        {
            return error.Failures;
        }
        catch (AggregateException errors)
            when (errors.InnerExceptions.All(error => error is OptionsValidationException))
        {
            return errors.InnerExceptions.SelectMany(error => ((OptionsValidationException)error).Failures);
        }
    }

    private static IEnumerable<string> Unknown(
        IConfiguration configuration, OptionKey[] keys, IReadOnlyList<string> others) =>
        from section in keys.Select(key => key.Path.Split(':')[0]).Distinct(StringComparer.OrdinalIgnoreCase)
        from entry in configuration.GetSection(section).AsEnumerable()
        where !string.IsNullOrEmpty(entry.Value) && !others.Any(other => IsUnder(entry.Key, other))
            && !keys.Any(key => key.IsList ? IsUnder(entry.Key, key.Path) : IsSame(entry.Key, key.Path))
        select entry.Key;

    private static string Suggestion(string process, string key, OptionKey[] keys)
    {
        string? meant = keys.Select(known => known.Path)
            .Where(known => Edits(key, known) <= EditsMax)
            .MinBy(known => Edits(key, known));
        return $"{key} is not a key of a {process} and sets nothing."
            + (meant is null ? "" : $" Did you mean {meant}?");

        static int Edits(string one, string other) =>
            EditDistance.Between(one.ToUpperInvariant(), other.ToUpperInvariant());
    }

    private static bool IsSame(string key, string other) => key.Equals(other, StringComparison.OrdinalIgnoreCase);

    private static bool IsUnder(string key, string other) =>
        IsSame(key, other) || key.StartsWith(other + ':', StringComparison.OrdinalIgnoreCase);
}
