using Atelier.Contracts.Tenants;

namespace Atelier.Gateway.Callers;

/// <summary>The caller of a request.</summary>
/// <param name="Caller">Who calls.</param>
internal sealed record CallerFeature(Caller Caller);
