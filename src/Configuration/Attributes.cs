// What an options class declares about its keys: their names, their bounds, and whether silos may differ in them.
using System.Globalization;

namespace Atelier.Configuration;

/// <summary>The section of the configuration that sets an options class, each key by a property's name.</summary>
/// <param name="name">The section, for example "Queue".</param>
[AttributeUsage(AttributeTargets.Class)]
public sealed class SectionAttribute(string name) : Attribute
{
    /// <summary>Gets the section.</summary>
    public string Name { get; } = name;
}

/// <summary>The key that sets a property, where section and property's name are not that key.</summary>
/// <param name="path">The key with its section, for example "Device:MemoryMegabytes".</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class KeyAttribute(string path) : Attribute
{
    /// <summary>Gets the key with its section.</summary>
    public string Path { get; } = path;

    /// <summary>Gets or sets what 1 of the key is in the property, for example bytes of a mebibyte.</summary>
    public int Unit { get; set; } = 1;
}

/// <summary>The values that a key may have, both ends included; as an operator writes them.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class BoundsAttribute(object min, object max) : Attribute
{
    /// <summary>Gets the smallest value.</summary>
    public string Min { get; } = Convert.ToString(min, CultureInfo.InvariantCulture)!;

    /// <summary>Gets the largest value.</summary>
    public string Max { get; } = Convert.ToString(max, CultureInfo.InvariantCulture)!;
}

/// <summary>All silos of a cluster must have the same value of the key, or of all keys of the class.</summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Property)]
public sealed class ClusterWideAttribute : Attribute;
