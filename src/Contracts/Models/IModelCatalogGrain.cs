namespace Atelier.Contracts.Models;

/// <summary>The models of a cluster; its key is 0.</summary>
[Alias("atelier.IModelCatalogueGrain")]
public interface IModelCatalogGrain : IGrainWithIntegerKey
{
    /// <summary>Most models in a catalogue.</summary>
    const int SizeMax = 64;

    /// <summary>A worker says what it can hold, again and again; false if the catalogue is full.</summary>
    /// <exception cref="ArgumentException">Something is wrong with the card.</exception>
    [Alias("Register")]
    Task<bool> RegisterAsync(ModelCard card);

    /// <summary>All models that are not retired, the default one first.</summary>
    [Alias("List")]
    Task<ModelCard[]> ListAsync();

    /// <summary>
    /// The model of a digest, a name or an alias; without a name the default one. Of several of a name it is the newest
    /// that a live worker holds.
    /// </summary>
    [Alias("Find")]
    Task<ModelCard?> FindAsync(string? name);
}
