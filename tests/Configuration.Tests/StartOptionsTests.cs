// Goal: what an operator writes is used, and whatever is wrong with it is reported at once, by the key that he would
// change. Method: two options classes that depend on each other, set as an environment sets them.
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Xunit;

namespace Atelier.Configuration.Tests;

public sealed class StartOptionsTests
{
    [Fact]
    public void Keys_SetTheirProperties()
    {
        StartOptions read = Read(
            ("Oven:Heat", "250"), ("OVEN:DOOR", "TRUE"), ("Oven:Tray:1", "b"), ("Oven:Tray:0", "a"),
            ("Oven:Parts", "top, Bottom"), ("Oven:Megabytes", "3"), ("Bread:Rise", "00:00:07.5"),
            ("Bread:Salt", "0.02"), ("Bread:Name", "rye"));
        Oven oven = read.Get<Oven>();
        Assert.Equal((250, true, 3L << 20), (oven.Heat, oven.Door, oven.Bytes));
        Assert.Equal(["a", "b"], oven.Tray);
        Assert.Equal(OvenParts.Top | OvenParts.Bottom, oven.Parts);
        Bread bread = read.Get<Bread>();
        Assert.Equal((TimeSpan.FromSeconds(7.5), 0.02, "rye"), (bread.Rise, bread.Salt, bread.Name));
        Assert.Empty(read.Warnings);
    }

    [Fact]
    public void WithoutKeys_OrWithEmptyTexts_DefaultsStay()
    {
        Oven oven = Read(("Oven:Heat", ""), ("Oven:Parts", "")).Get<Oven>();
        Assert.Equal((180, OvenParts.Top, 5L << 20), (oven.Heat, oven.Parts, oven.Bytes));
        Assert.Equal(["standard"], oven.Tray);
        Assert.Null(oven.Light);
    }

    [Fact]
    public void AllFaults_AreReportedAtOnce_EachByItsKey()
    {
        InvalidConfigurationException error = Assert.Throws<InvalidConfigurationException>(() => Read(
            ("Oven:Heat", "hot"), ("Oven:Door", "ajar"), ("Oven:Parts", "top,7"), ("Oven:Megabytes", "0"),
            ("Oven:Light", "-1"), ("Bread:Rise", "00:00:00"), ("Bread:Salt", "NaN"), ("Bread:Name", " ")));
        Assert.Equal(
            [
                "Bread:Name must not be blank.",
                "Bread:Rise is 00:00:00; it must be a time in 00:00:00.1..01:00:00.",
                "Bread:Salt is NaN; it must be a number in 0..0.25.",
                "Oven:Door is ajar; it must be true or false.",
                "Oven:Heat is hot; it must be a whole number in 30..300.",
                "Oven:Light is -1; it must be a whole number in 0..9.",
                "Oven:Megabytes is 0; it must be a whole number in 1..1024.",
                "Oven:Parts is top,7; it must be one or more of top, bottom, separated by commas.",
            ],
            error.Faults.Order(StringComparer.Ordinal));
        Assert.StartsWith(
            "This kitchen cannot start as it is configured:\n  ", error.Message, StringComparison.Ordinal);
        Assert.All(error.Faults, fault => Assert.Contains($"\n  {fault}", error.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void ARelationOfTwoClasses_IsReportedByBothKeys_AndOnce()
    {
        InvalidConfigurationException error = Assert.Throws<InvalidConfigurationException>(
            () => Read(("Oven:Heat", "40"), ("Bread:Rise", "00:50:00")));
        Assert.Equal(["Bread:Rise is 00:50:00; it must be shorter than Oven:Heat (40) minutes."], error.Faults);
    }

    [Fact]
    public void AFaultOfTheOtherClass_HidesNoFaultOfThisOne()
    {
        InvalidConfigurationException error = Assert.Throws<InvalidConfigurationException>(
            () => Read(("Oven:Heat", "1"), ("Bread:Name", " ")));
        Assert.Equal(2, error.Faults.Count);
    }

    [Fact]
    public void UnwiseValues_AndKeysThatSetNothing_AreWarnings()
    {
        StartOptions read = Read(
            ("Bread:Salt", "0"), ("Oven:Haet", "200"), ("Oven:Tray:0:Deep", "x"), ("Bread:Butter", "much"),
            ("Bread:Jam", "cherry"), ("Bread:Jam:Spoon", "2"), ("Cellar:Door", "open"), ("Butter", "x"));
        Assert.Equal(
            [
                "Bread:Butter is not a key of a kitchen and sets nothing.",
                "Bread:Salt is 0: it tastes of nothing.",
                "Oven:Haet is not a key of a kitchen and sets nothing. Did you mean Oven:Heat?",
            ],
            read.Warnings.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void OptionsOfCode_AreRefusedWithAllTheirFaults()
    {
        string message = Assert.Throws<ArgumentException>(
            () => new OvenValidator().Require(new Oven { Heat = 1, Bytes = 1 })).Message;
        Assert.Contains("Oven:Heat is 1", message, StringComparison.Ordinal);
        Assert.Contains("Oven:Megabytes is 0", message, StringComparison.Ordinal);
        var right = new Oven();
        Assert.Same(right, new OvenValidator().Require(right));
    }

    [Fact]
    public void TheHost_ValidatesTheSameOptions_WhenItStarts()
    {
        using ServiceProvider services =
            Kitchen(new ServiceCollection(), Settings(("Oven:Heat", "1"))).BuildServiceProvider();
        Assert.Throws<OptionsValidationException>(services.GetRequiredService<IStartupValidator>().Validate);
    }

    private static StartOptions Read(params (string Key, string Value)[] settings)
    {
        IConfiguration configuration = Settings(settings);
        return StartOptions.Read("kitchen", configuration, services => Kitchen(services, configuration), "Bread:Jam");
    }

    private static IConfiguration Settings(params (string Key, string Value)[] settings) => new ConfigurationBuilder()
        .AddInMemoryCollection(settings.Select(one => KeyValuePair.Create<string, string?>(one.Key, one.Value)))
        .Build();

    // Twice, as a host and its parts may add the same options.
    private static IServiceCollection Kitchen(IServiceCollection services, IConfiguration configuration) => services
        .AddOptions<Oven, OvenValidator>(configuration).AddOptions<Bread, BreadValidator>(configuration)
        .AddOptions<Oven, OvenValidator>(configuration);

    [Flags]
    private enum OvenParts
    {
        None = 0,
        Top = 1,
        Bottom = 2,
    }

    [Section("Oven")]
    private sealed class Oven
    {
        [Bounds(30, 300)]
        public int Heat { get; set; } = 180;

        [Bounds(0, 9)]
        public int? Light { get; set; }

        public bool Door { get; set; }

        public OvenParts Parts { get; set; } = OvenParts.Top;

        public IReadOnlyList<string> Tray { get; set; } = ["standard"];

        [Key("Oven:Megabytes", Unit = 1 << 20)]
        [Bounds(1, 1024)]
        public long Bytes { get; set; } = 5 << 20;

        public Action? OnFire { get; set; }

        public int Doubled => 2 * Heat;
    }

    private sealed class OvenValidator : OptionsValidator<Oven>;

    [Section("Bread")]
    private sealed record Bread
    {
        public string Name { get; init; } = "wheat";

        [Bounds("00:00:00.1", "01:00:00")]
        public TimeSpan Rise { get; init; } = TimeSpan.FromMinutes(5);

        [Bounds(0, 0.25)]
        public double Salt { get; init; } = 0.01;
    }

    private sealed class BreadValidator(IOptions<Oven> oven) : OptionsValidator<Bread>
    {
        public override IEnumerable<string> Warnings(Bread options) =>
            options.Salt == 0 ? [$"{Key(nameof(options.Salt))} is 0: it tastes of nothing."] : [];

        protected override IEnumerable<string> Faults(Bread options)
        {
            if (string.IsNullOrWhiteSpace(options.Name))
            {
                yield return $"{Key(nameof(options.Name))} must not be blank.";
            }

            if (oven.ValueIfValid() is { Heat: var heat } && options.Rise > TimeSpan.FromMinutes(heat))
            {
                yield return $"{Key(nameof(options.Rise))} is {options.Rise}; it must be shorter than "
                    + $"{OptionKey.PathOf<Oven>(nameof(Oven.Heat))} ({heat}) minutes.";
            }
        }
    }
}
