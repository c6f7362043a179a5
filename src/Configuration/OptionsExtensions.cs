// Registration of options classes, and access to another class's options from a validator.
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Atelier.Configuration;

/// <summary>Registration of options.</summary>
public static class OptionsExtensions
{
    /// <summary>
    /// Adds options that the configuration sets and that are validated when the host starts. Adding the same options
    /// again has no effect.
    /// </summary>
    /// <typeparam name="T">The options class; it has a <see cref="SectionAttribute"/>.</typeparam>
    /// <typeparam name="TValidator">Its validator.</typeparam>
    /// <param name="services">The services to add the options to.</param>
    /// <param name="configuration">The configuration that sets the options.</param>
    public static IServiceCollection AddOptions<T, TValidator>(
        this IServiceCollection services, IConfiguration configuration)
        where T : class where TValidator : OptionsValidator<T>
    {
        services.AddOptions<T>().ValidateOnStart();
        var configured = new ConfiguredOptions<T>(configuration);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IConfigureOptions<T>>(configured));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<T>>(configured));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<T>, TValidator>());
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IOptionsReport, OptionsReport<T>>());
        return services;
    }

    /// <summary>
    /// The value, or null if it is not valid. A validator uses this to compare its options with those of another class,
    /// whose own validator reports their faults.
    /// </summary>
    public static T? ValueIfValid<T>(this IOptions<T> options) where T : class
    {
        ArgumentNullException.ThrowIfNull(options);
        try
        {
            return options.Value;
        }
        catch (OptionsValidationException)
        {
            return null;
        }
    }
}

/// <summary>One options class as a starting process reports it: its value and its warnings.</summary>
internal interface IOptionsReport
{
    Type Options { get; }

    object Value { get; }

    IEnumerable<string> Warnings { get; }
}

internal sealed class OptionsReport<T>(IOptions<T> options, IEnumerable<IValidateOptions<T>> validators)
    : IOptionsReport where T : class
{
    public Type Options => typeof(T);

    public object Value => options.Value;

    public IEnumerable<string> Warnings =>
        validators.OfType<OptionsValidator<T>>().SelectMany(validator => validator.Warnings(options.Value));
}
