// Room on the store's disk: the bytes that new work may use, and a file that a silo deletes so that it can start on a
// full disk. Without that file nothing could be read until somebody freed space.
using System.Security.Cryptography;

namespace Atelier.Silo.Store;

/// <summary>The room on the disk of a store.</summary>
/// <param name="folder">The store's folder.</param>
/// <param name="reserveBytes">Bytes that are reserved for accepted work.</param>
internal sealed class StoreRoom(string folder, long reserveBytes)
{
    private const string FileName = "reserve";
    private const int StartBytesMax = 8 << 20;

    private readonly string _path = Path.Combine(folder, FileName);

    /// <summary>Bytes that new work may use; negative while the reserve is in use.</summary>
    public long Bytes => Disk.AvailableFreeSpace - Math.Min(reserveBytes, Disk.TotalSize / 16);

    private DriveInfo Disk => new(folder);

    private long StartBytes => Math.Min(StartBytesMax, Disk.TotalSize / 16);

    /// <summary>Deletes the reserve file if the disk is too full for the silo to start.</summary>
    public void FreeForStart()
    {
        if (Disk.AvailableFreeSpace < StartBytes)
        {
            File.Delete(_path);
        }
    }

    /// <summary>Creates the reserve file, if there is enough room.</summary>
    public void KeepForStart()
    {
        long size = StartBytes;
        if (Bytes < size || (new FileInfo(_path) is { Exists: true } there && there.Length == size))
        {
            return;
        }

        // Random bytes, so that the file system cannot compress them.
        byte[] bytes = new byte[size];
        RandomNumberGenerator.Fill(bytes);
        using var file = new FileStream(_path, new FileStreamOptions
        {
            Mode = FileMode.Create, Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        file.Write(bytes);
        file.Flush(flushToDisk: true);
    }
}
