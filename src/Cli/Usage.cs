// Usage errors as sentences. The parser's own messages mention .NET types and rarely say what is expected.
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;

namespace Atelier.Cli;

internal static class Usage
{
    /// <summary>One sentence for each error of a command line.</summary>
    public static IReadOnlyList<string> Problems(ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        string name = NameOf(parsed.CommandResult);
        if (parsed.Action is HelpAction)
        {
            return [];
        }

        if (UnknownOption(parsed) is { } option)
        {
            return [$"There is no option {option}; {name} has {List(OptionNames(command), "and")}."];
        }

        if (parsed.Errors.Count > 0 && command.Subcommands.Count > 0)
        {
            string[] verbs = [.. command.Subcommands.Select(verb => verb.Name)];
            return parsed.UnmatchedTokens.Count > 0
                ? [$"There is no command \"{parsed.UnmatchedTokens[0]}\"; {name} has {List(verbs, "and")}."]
                : [$"{name} needs a command: {List(verbs, "or")}."];
        }

        return parsed.Errors.Count > 0 && parsed.UnmatchedTokens.Count > 0
            ? [Unexpected(parsed.CommandResult, parsed.UnmatchedTokens[0])]
            : [.. parsed.Errors.Select(error => Sentence(error, name))];
    }

    // If an argument is missing, the parser takes a misspelled option for it: a picture of "--stpes" would be drawn.
    private static string? UnknownOption(ParseResult parsed) =>
        parsed.Tokens.Any(token => token.Type == TokenType.DoubleDash)
            ? null
            : parsed.CommandResult.Children.OfType<ArgumentResult>().SelectMany(argument => argument.Tokens)
                .Select(token => token.Value).Concat(parsed.UnmatchedTokens).FirstOrDefault(LooksLikeOption);

    private static string Unexpected(CommandResult result, string text)
    {
        string[] takes = [.. result.Command.Arguments.Select(argument => argument.Name)];
        string start = $"\"{text}\" is unexpected: {NameOf(result)} takes ";
        return takes.Length == 0
            ? $"{start}only options."
            : $"{start}only {List(takes, "and")}; put text with spaces in quotes.";
    }

    private static string Sentence(ParseError error, string command) => error.SymbolResult switch
    {
        OptionResult { Implicit: false, IdentifierTokenCount: > 1 } option =>
            $"{option.IdentifierToken!.Value} is given more than once.",
        OptionResult { Implicit: false, Tokens.Count: 0 } option =>
            $"{option.IdentifierToken!.Value} needs a value: {Name(option.Option)}. See {command} --help.",
        OptionResult { Tokens.Count: 0 } option =>
            $"{option.Option.Name} {Name(option.Option)} is missing. See {command} --help.",
        ArgumentResult { Tokens.Count: 0 } argument => $"{argument.Argument.Name} is missing. See {command} --help.",
        OptionResult { Option.ValueType: { } type } option when typeof(FileSystemInfo).IsAssignableFrom(type) =>
            $"{option.Option.Name} is \"{option.Tokens[0].Value}\", which is not a path.",
        ArgumentResult { Argument.ValueType: { } type } argument when typeof(FileSystemInfo).IsAssignableFrom(type) =>
            $"{argument.Argument.Name} is \"{argument.Tokens[0].Value}\", which is not a path.",
        _ => error.Message,
    };

    private static IEnumerable<string> OptionNames(Command command) =>
        command.Options.Where(option => !option.Hidden).Select(option => option.Name).Append("--help").Distinct();

    private static string Name(Option option) => option.HelpName ?? option.Name;

    private static string NameOf(CommandResult result) =>
        result.Parent is CommandResult parent ? $"{NameOf(parent)} {result.Command.Name}" : result.Command.Name;

    private static string List(IEnumerable<string> names, string word)
    {
        string[] all = [.. names];
        return all.Length < 2 ? string.Concat(all) : $"{string.Join(", ", all[..^1])} {word} {all[^1]}";
    }

    private static bool LooksLikeOption(string text) =>
        text.StartsWith('-') && text.TrimStart('-') is [var first, ..] && char.IsAsciiLetter(first)
        && !text.Any(char.IsWhiteSpace);
}
