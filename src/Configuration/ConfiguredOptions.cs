// Options from the configuration. The host's own binder stops at the first text that it cannot read; this one reports
// each of them, beside what validators find.
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Atelier.Configuration;

/// <summary>Sets an options class from the configuration, and reports the texts that cannot be read.</summary>
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
