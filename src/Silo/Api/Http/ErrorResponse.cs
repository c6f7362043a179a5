namespace Atelier.Silo.Api.Http;

/// <summary>Body of an error response.</summary>
/// <param name="Error">What went wrong.</param>
internal sealed record ErrorResponse(ErrorDetail Error);

/// <summary>What went wrong.</summary>
/// <param name="Message">What is wrong, and what would be right.</param>
/// <param name="Type">Type of the error, such as invalid_request_error.</param>
/// <param name="Param">The member of the request that is at fault, if one is.</param>
/// <param name="Code">Code of the error, for programs.</param>
internal sealed record ErrorDetail(string Message, string Type, string? Param, string? Code);
