namespace Atelier.Silo.Api.Http;

/// <summary>An error as it is sent.</summary>
/// <param name="Error">What went wrong.</param>
internal sealed record ErrorResponse(ErrorDetail Error);

/// <summary>What went wrong.</summary>
/// <param name="Message">The fault in a sentence, and what would be right.</param>
/// <param name="Type">The kind of error.</param>
/// <param name="Param">The member of the request that is at fault, if one is.</param>
/// <param name="Code">The error's name, for programs.</param>
internal sealed record ErrorDetail(string Message, string Type, string? Param, string? Code);
