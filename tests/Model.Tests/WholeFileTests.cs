// Goal: a reader finds the old file or the new one, never a part of either. Method: writes that fail halfway.
using Xunit;

namespace Atelier.Model.Tests;

public sealed class WholeFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private string Target => _folder["file"];

    [Fact]
    public void AText_IsWritten_AsPlainUtf8_AndReplacesAnother()
    {
        WholeFile.WriteText(Target, "a long text before");
        WholeFile.WriteText(Target, "\u00e4\n");
        Assert.Equal([0xc3, 0xa4, 0x0a], File.ReadAllBytes(Target));
        Assert.Equal([Target], Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void AWriteThatFails_LeavesWhatWasThere()
    {
        WholeFile.WriteText(Target, "before");
        Assert.Throws<IOException>(() => WholeFile.Write(Target, file =>
        {
            file.WriteByte(1);
            throw new IOException("The disk is full.");
        }));
        Assert.Equal("before", File.ReadAllText(Target));
        Assert.Equal([Target], Directory.GetFiles(_folder.Path));
        WholeFile.Write(Target, file => file.WriteByte(2));
        Assert.Equal([2], File.ReadAllBytes(Target));
    }

    [Fact]
    public void AModeIsThatOfTheFile_WhateverADeadProcessLeft()
    {
        const UnixFileMode Mine = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        File.WriteAllText(WholeFile.Aside(Target), "half");
        File.SetUnixFileMode(WholeFile.Aside(Target), Mine | UnixFileMode.OtherRead);
        WholeFile.Write(Target, file => file.WriteByte(1), Mine);
        Assert.Equal([1], File.ReadAllBytes(Target));
        Assert.Equal(Mine, File.GetUnixFileMode(Target));
    }

    public void Dispose() => _folder.Dispose();
}
