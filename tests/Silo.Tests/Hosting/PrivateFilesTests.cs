// Goal: what a cluster keeps is readable by its user alone, no matter who created the folder. Method: folders as
// mkdir, a careless chmod and another user create them.
using System.Diagnostics;
using Atelier.ServiceDefaults;
using Xunit;

namespace Atelier.Silo.Tests.Hosting;

public sealed class PrivateFilesTests : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode Open = OwnerOnly | UnixFileMode.GroupRead | UnixFileMode.GroupExecute
        | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    private readonly string _folder = Directory.CreateTempSubdirectory("atelier-private").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void AnExistingFolder_IsMadePrivate_WithItsContent_ButNotTheTargetsOfLinks()
    {
        string kept = Make("kept"), below = Make("kept/a/b"), elsewhere = Make("elsewhere");
        string file = Path.Combine(below, "file");
        File.WriteAllText(file, "a prompt");
        File.SetUnixFileMode(file, Open);
        File.CreateSymbolicLink(Path.Combine(kept, "link"), elsewhere);
        Assert.Empty(PrivateFiles.MakeFolder(kept));
        Assert.All(
            (string[])[kept, Path.Combine(kept, "a"), below, file],
            path => Assert.Equal(OwnerOnly, File.GetUnixFileMode(path)));
        Assert.Equal(Open, File.GetUnixFileMode(elsewhere));
    }

    [Fact]
    public void AMissingFolder_IsCreatedPrivate()
    {
        string path = Path.Combine(_folder, "new", "below");
        Assert.Empty(PrivateFiles.MakeFolder(path));
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(path));
    }

    [Fact]
    public void AUserWhoMayReplaceTheFiles_IsNamed()
    {
        string folder = Make("data");
        Assert.Empty(PrivateFiles.Intruders(folder));
        File.SetUnixFileMode(folder, Open | UnixFileMode.GroupWrite);
        Assert.Contains("is writable by other users", Assert.Single(PrivateFiles.Intruders(folder)));
        File.SetUnixFileMode(folder, Open | UnixFileMode.OtherWrite | UnixFileMode.StickyBit);
        Assert.Empty(PrivateFiles.Intruders(folder));
    }

    [Fact]
    public async Task AFolderOfAnotherUser_IsNamed()
    {
        Assert.SkipUnless(Environment.UserName == "root", "only root can give a folder away");
        string folder = Make("data");
        using Process chown = Process.Start("chown", ["12345", folder]);
        await chown.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Contains("the user with the id 12345", Assert.Single(PrivateFiles.Intruders(folder)));
        Assert.Contains("the user with the id 12345", Assert.Single(PrivateFiles.MakeFolder(folder)));
    }

    private string Make(string name)
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(path);
        for (string at = path; at != _folder; at = Path.GetDirectoryName(at)!)
        {
            File.SetUnixFileMode(at, Open);
        }

        return path;
    }
}
