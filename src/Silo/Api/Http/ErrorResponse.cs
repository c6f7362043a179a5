namespace Atelier.Silo.Api.Http;

/// <summary>Body of an error response.</summary>
/// <param name="Error">What went wrong.</param>
internal sealed record ErrorResponse(ErrorDetail Error);

/// <summary>What went wrong.</summary>
/// <param name="Message">What is wrong and how to fix it.</param>
/// <param name="Type">OpenAI's error type, such as invalid_request_error.</param>
/// <param name="Param">The member of the request that is at fault, if any.</param>
/// <param name="Code">Machine-readable error code.</param>
internal sealed record ErrorDetail(string Message, string Type, string? Param, string? Code);
