using Atelier.Contracts.Tenants;

namespace Atelier.Gateway.Callers;

/// <summary>The caller of a request.</summary>
/// <param name="Caller">The tenant or the administrator.</param>
internal sealed record CallerFeature(Caller Caller);
