// The binding of options classes to the configuration. The host's own binder stops at the first value that it cannot
// parse; this one reports all of them, in addition to the validators' faults.
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Atelier.Configuration;

/// <summary>Sets an options class from the configuration, and reports the values that cannot be parsed.</summary>
internal sealed class ConfiguredOptions<T>(IConfiguration configuration) : IConfigureOptions<T>, IValidateOptions<T>
    where T : class
{
    public void Configure(T options) => _ = Read(options).Count;

    public ValidateOptionsResult Validate(string? name, T options)
    {
        List<string> faults = Read(Activator.CreateInstance<T>());
        return faults.Count > 0 ? ValidateOptionsResult.Fail(faults) : ValidateOptionsResult.Success;
    }

    private List<string> Read(T options) =>
        [.. OptionKey.Of(typeof(T)).Select(key => key.Set(configuration, options)).OfType<string>()];
}
