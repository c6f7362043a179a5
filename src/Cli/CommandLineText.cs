// A check that the command line is valid UTF-8. .NET replaces invalid bytes of arguments with U+FFFD, which would
// otherwise silently be drawn, trained on and recorded.
using System.Text;

namespace Atelier.Cli;

internal static class CommandLineText
{
    private static readonly UTF8Encoding s_strict =
        new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>What is wrong with the bytes of the arguments; null if they are valid UTF-8.</summary>
    public static string? Fault(string[] args) =>
        args.Any(arg => arg.Contains('\uFFFD', StringComparison.Ordinal)) ? Fault(args, ReadCommandLine()) : null;

    /// <summary>Checks the bytes of a whole command line, in which a zero byte ends each word.</summary>
    internal static string? Fault(string[] args, byte[] commandLine)
    {
        // The words before the arguments name the program.
        byte[][] words = [.. Split(commandLine).TakeLast(args.Length)];
        for (int i = 0; i < words.Length; i++)
        {
            try
            {
                s_strict.GetCharCount(words[i]);
            }
            catch (DecoderFallbackException error)
            {
                return $"Argument {i + 1}, \"{args[i]}\", is not UTF-8: byte {error.Index} is "
                    + $"{Convert.ToHexString(error.BytesUnknown ?? [])}. Use a terminal that is set to UTF-8.";
            }
        }

        return null;
    }

    private static IEnumerable<byte[]> Split(byte[] commandLine)
    {
        for (int start = 0; start < commandLine.Length;)
        {
            int end = Array.IndexOf(commandLine, (byte)0, start);
            end = end < 0 ? commandLine.Length : end;
            yield return commandLine[start..end];
            start = end + 1;
        }
    }

    private static byte[] ReadCommandLine()
    {
        try
        {
            return File.ReadAllBytes("/proc/self/cmdline");
        }
        catch (IOException)
        {
            return []; // Without this file the original bytes are unknown.
        }
    }
}
