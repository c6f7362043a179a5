// The attributes of an options class: its section, the names and bounds of its keys, and whether silos may differ in
// them.
using System.Globalization;

namespace Atelier.Configuration;

/// <summary>The configuration section of an options class. Each property is set by the key of the same name.</summary>
/// <param name="name">The section, for example "Queue".</param>
[AttributeUsage(AttributeTargets.Class)]
public sealed class SectionAttribute(string name) : Attribute
{
    /// <summary>Gets the section.</summary>
    public string Name { get; } = name;
}

/// <summary>The key that sets a property, if it differs from the section and the property's name.</summary>
/// <param name="path">The key with its section, for example "Device:MemoryMegabytes".</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class KeyAttribute(string path) : Attribute
{
    /// <summary>Gets the key with its section.</summary>
    public string Path { get; } = path;

    /// <summary>
    /// Gets or sets the factor from the key's value to the property's, for example 1048576 from MiB to bytes.
    /// </summary>
    public int Unit { get; set; } = 1;
}

/// <summary>The range of a key's values, both ends included, written as an operator writes them.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class BoundsAttribute(object min, object max) : Attribute
{
    /// <summary>Gets the smallest value.</summary>
    public string Min { get; } = Convert.ToString(min, CultureInfo.InvariantCulture)!;

    /// <summary>Gets the largest value.</summary>
    public string Max { get; } = Convert.ToString(max, CultureInfo.InvariantCulture)!;
}

/// <summary>Marks a key, or all keys of a class, whose value must be the same on all silos of a cluster.</summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Property)]
public sealed class ClusterWideAttribute : Attribute;
