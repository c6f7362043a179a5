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
    /// Adds options that the configuration sets and that are validated when the host starts. Adding them twice is the
    /// same as once.
    /// </summary>
    /// <typeparam name="T">The options class; it has a <see cref="SectionAttribute"/>.</typeparam>
    /// <typeparam name="TValidator">Its validator.</typeparam>
    /// <param name="services">Where they are added.</param>
    /// <param name="configuration">What sets them.</param>
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
    /// The value, or null if it is not valid: a validator that compares it with its own leaves that to its validator.
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

/// <summary>What a start reports about one options class.</summary>
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
