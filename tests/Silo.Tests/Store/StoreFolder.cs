// A store's folder for a test, and states as grains write them.
using System.Diagnostics;
using Atelier.Silo.Store;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;
using Orleans.Storage;
using Xunit;

namespace Atelier.Silo.Tests.Store;

/// <summary>A state of a test.</summary>
[GenerateSerializer, Alias("atelier.tests.Note")]
internal sealed class Note
{
    [Id(0)]
    public byte[] Text { get; set; } = [];
}

/// <summary>A folder that is deleted with its test, on a disk of its own if the test asks for one.</summary>
internal sealed class StoreFolder : IDisposable
{
    private static readonly OrleansGrainStorageSerializer s_serializer = new(
        new ServiceCollection().AddSerializer().BuildServiceProvider().GetRequiredService<Serializer>());

    private readonly bool _isDisk;

    public StoreFolder(int? diskMegabytes = null)
    {
        Path = Directory.CreateTempSubdirectory("store").FullName;
        if (diskMegabytes is { } size)
        {
            Assert.SkipWhen(Environment.UserName != "root", "A disk of its own takes root.");
            Run("mount", "-t", "tmpfs", "-o", $"size={size}m", "tmpfs", Path);
            _isDisk = true;
        }
    }

    public string Path { get; }

    public SqliteStore Open(long memoryBytes = 4 << 20, string cluster = "atelier") =>
        new(new SqliteStoreOptions { Folder = Path, MemoryBytes = memoryBytes, ClusterId = cluster });

    public static IGrainStorage Storage(SqliteStore store) => new SqliteGrainStorage(store, s_serializer);

    public static T Decode<T>(byte[] bytes) => s_serializer.Deserialize<T>(BinaryData.FromBytes(bytes))!;

    public static GrainId Grain(string key, string type = "generation") => GrainId.Create(type, key);

    /// <summary>Writes a state as a newly activated grain does.</summary>
    public static async Task<GrainState<Note>> WriteAsync(SqliteStore store, string key, byte[] text)
    {
        IGrainStorage storage = Storage(store);
        var state = new GrainState<Note>();
        await storage.ReadStateAsync("note", Grain(key), state);
        state.State!.Text = text;
        await storage.WriteStateAsync("note", Grain(key), state);
        return state;
    }

    /// <summary>Reads a state; null if it does not exist.</summary>
    public static async Task<byte[]?> ReadAsync(SqliteStore store, string key)
    {
        var state = new GrainState<Note>();
        await Storage(store).ReadStateAsync("note", Grain(key), state);
        return state.RecordExists ? state.State!.Text : null;
    }

    public void Dispose()
    {
        if (_isDisk)
        {
            Run("umount", Path);
        }

        Directory.Delete(Path, recursive: true);
    }

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
