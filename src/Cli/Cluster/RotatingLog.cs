// A process's output in files of bounded size: NAME.log is the latest, NAME.1.log the one before, and so on.
using System.Globalization;
using System.Text;

namespace Atelier.Cli.Cluster;

/// <summary>A log of lines with timestamps. Safe for concurrent use.</summary>
internal sealed class RotatingLog : IDisposable
{
    private readonly Lock _gate = new();
    private readonly string _folder;
    private readonly string _name;
    private readonly long _bytesMax;
    private readonly int _files;
    private readonly TimeProvider _clock;
    private FileStream _file;

    /// <summary>Opens the log, appending to its latest file.</summary>
    /// <param name="folder">Folder of its files.</param>
    /// <param name="name">Name of the files, without an extension.</param>
    /// <param name="clock">Source of time.</param>
    /// <param name="bytesMax">Size in bytes at which a new file begins.</param>
    /// <param name="files">Number of files to keep.</param>
    public RotatingLog(string folder, string name, TimeProvider clock, long bytesMax = 8 << 20, int files = 4)
    {
        (_folder, _name, _clock, _bytesMax, _files) = (folder, name, clock, bytesMax, files);
        _file = Open();
    }

    /// <summary>Path of the latest file.</summary>
    public string Path => FileOf(0);

    /// <summary>Adds a line.</summary>
    public void WriteLine(string line)
    {
        string time = _clock.GetLocalNow().ToString("yyyy-MM-dd HH:mm:ss.fff ", CultureInfo.InvariantCulture);
        byte[] bytes = Encoding.UTF8.GetBytes($"{time}{line}\n");
        lock (_gate)
        {
            if (_file.Length > 0 && _file.Length + bytes.Length > _bytesMax)
            {
                Rotate();
            }

            _file.Write(bytes);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _file.Dispose();
        }
    }

    private void Rotate()
    {
        _file.Dispose();
        for (int i = _files - 1; i > 0; i--)
        {
            if (File.Exists(FileOf(i - 1)))
            {
                File.Move(FileOf(i - 1), FileOf(i), overwrite: true);
            }
        }

        _file = Open();
    }

    private string FileOf(int age) => System.IO.Path.Combine(_folder, age == 0 ? $"{_name}.log" : $"{_name}.{age}.log");

    // The stream has no buffer, so that a line is in the file once WriteLine returns.
    private FileStream Open() => new(FileOf(0), FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0);
}
