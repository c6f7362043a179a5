// The validator of an options class: all faults at once, each beginning with the key that an operator would change, and
// warnings about values that are allowed but unwise.
using Microsoft.Extensions.Options;

namespace Atelier.Configuration;

/// <summary>Checks an options class: its keys' bounds, and whatever a derived class adds.</summary>
public abstract class OptionsValidator<T> : IValidateOptions<T> where T : class
{
    /// <inheritdoc/>
    public ValidateOptionsResult Validate(string? name, T options)
    {
        string[] faults = AllFaults(options);
        return faults.Length > 0 ? ValidateOptionsResult.Fail(faults) : ValidateOptionsResult.Success;
    }

    /// <summary>Returns options that were created without a host, if they are valid.</summary>
    /// <exception cref="ArgumentException">The options are not valid; the message lists all faults.</exception>
    public T Require(T options) => AllFaults(options) is { Length: > 0 } faults
        ? throw new ArgumentException(string.Join(' ', faults), nameof(options)) : options;

    /// <summary>Warnings about values that are allowed but unwise, as sentences. The options are valid.</summary>
    public virtual IEnumerable<string> Warnings(T options) => [];

    /// <summary>Faults other than values out of bounds, as sentences that begin with a key.</summary>
    protected virtual IEnumerable<string> Faults(T options) => [];

    /// <summary>The key of a property.</summary>
    protected static string Key(string property) => OptionKey.PathOf<T>(property);

    private string[] AllFaults(T options) =>
        [.. OptionKey.Of(typeof(T)).Select(key => key.BoundsFault(options)).OfType<string>(), .. Faults(options)];
}
