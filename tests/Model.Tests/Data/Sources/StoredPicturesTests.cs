// Goal: input is read as intended, or an error says what is ambiguous. Method: small folders and data sets, each with
// one thing that could be misread.
using System.Text;
using Atelier.Model.Data.Mds;
using Atelier.Model.Data.Sources;
using Atelier.Model.Imaging;
using Atelier.Model.Tests.Imaging;
using Xunit;

namespace Atelier.Model.Tests.Data.Sources;

public sealed class StoredPicturesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("author:str caption:str jpg:jpeg", "caption", "jpg")]
    [InlineData("__key__:str alt_text:str text:str image:png", "text", "image")]
    [InlineData("Caption:str filename:str mask:png photo:jpeg", "Caption", "photo")]
    [InlineData("caption:json jpg:jpeg meta:json", "caption", "jpg")]
    [InlineData("prompt:str scan:png", "prompt", "scan")]
    public void Columns_AreThoseWithTheUsualNames_OrTheOnlyOnes(string columns, string caption, string picture)
    {
        MdsIndex index = Index(columns);
        var choice = new PictureColumns();
        Assert.Equal((caption, picture), (choice.CaptionOf(index).Name, choice.PictureOf(index).Name));
    }

    [Theory]
    [InlineData(
        "author:str title:str jpg:jpeg", "caption column",
        "is ambiguous; name one of author (str), title (str).")]
    [InlineData(
        "caption:str text:str jpg:jpeg", "caption column",
        "is ambiguous; name one of caption (str), text (str).")]
    [InlineData(
        "caption:str image:png jpg:jpeg", "picture column",
        "is ambiguous; name one of image (png), jpg (jpeg).")]
    [InlineData(
        "caption:str mask:png depth:png", "picture column",
        "is ambiguous; name one of depth (png), mask (png).")]
    [InlineData("caption:str width:int", "picture column", "is missing; the data set has caption (str), width (int).")]
    [InlineData("jpg:jpeg", "caption column", "is missing; the data set has jpg (jpeg).")]
    public void Columns_ThatCouldBeOthers_AreRefused_WithAllOfThem(string columns, string place, string reason)
    {
        MdsIndex index = Index(columns);
        var choice = new PictureColumns();
        var refusal = Assert.Throws<RefusedFileException>(() => (choice.CaptionOf(index), choice.PictureOf(index)));
        Assert.Equal((_folder["set"], place, reason), (refusal.File, refusal.Place, refusal.Reason));
    }

    [Fact]
    public void Columns_ThatAreNamed_AreTaken()
    {
        MdsIndex index = Index("author:str caption:str jpg:jpeg mask:png width:int");
        var choice = new PictureColumns("author", "mask");
        Assert.Equal(("author", "mask"), (choice.CaptionOf(index).Name, choice.PictureOf(index).Name));
        Assert.StartsWith(
            "nobody does not exist; the data set has author (str), ",
            Assert.Throws<RefusedFileException>(() => new PictureColumns("nobody").CaptionOf(index)).Reason);
        Assert.StartsWith(
            "width holds int, not jpeg or png; the data set has ",
            Assert.Throws<RefusedFileException>(() => new PictureColumns(Picture: "width").PictureOf(index)).Reason);
        WriteFolder("pictures", ("a.png", "a.txt", "red"));
        Assert.Contains(
            "exist only in MDS data sets",
            Assert.Throws<RefusedFileException>(() => StoredPictures.Open(_folder["pictures"], choice)).Message);
    }

    [Fact]
    public void CaptionsInJson_AreTheirTexts()
    {
        Write("coco", "caption:json jpg:jpeg", "\"a \\u201cred\\u201d star\"", "[\"a\", \"b\"]", "\"half \\ud83e\"");
        using StoredPictures set = StoredPictures.Open(_folder["coco"]);
        Assert.Equal("a “red” star", set.Caption(0));
        Assert.Equal("pictures from column jpg (jpeg), captions from column caption (json)", set.Taken);
        var refusal = Assert.Throws<RefusedFileException>(() => set.Caption(1));
        Assert.Equal("sample 1, column 'caption'", refusal.Place);
        Assert.Equal("the JSON is array; a caption must be a JSON string.", refusal.Reason);
        Assert.Throws<RefusedFileException>(() => set.Caption(2));
    }

    [Fact]
    public void PicturesWithoutCaptions_AreReadByWhatNeedsNone()
    {
        Write("set", "jpg:jpeg", "", "");
        using (StoredPictures set = StoredPictures.Open(_folder["set"], withCaptions: false))
        {
            Assert.Equal((2, 6), (set.Count, set.Picture(1).Width));
        }

        WriteFolder("pictures", ("a.png", null, null), ("b.png", null, null));
        using StoredPictures files = StoredPictures.Open(_folder["pictures"], withCaptions: false);
        Assert.Equal((2, 6, 0), (files.Count, files.Picture(1).Width, files.PassedOver.Count));
        Assert.Equal(
            _folder["pictures/a.txt"],
            Assert.Throws<RefusedFileException>(() => StoredPictures.Open(_folder["pictures"])).File);
    }

    [Fact]
    public void SetWithoutSamples_SaysSo()
    {
        Write("set", "author:str title:str");
        var refusal = Assert.Throws<RefusedFileException>(() => StoredPictures.Open(_folder["set"]));
        Assert.Equal((_folder["set"], "samples", "there are none."), (refusal.File, refusal.Place, refusal.Reason));
    }

    [Fact]
    public void CaptionFile_ThatIsNotText_IsRefused_WithFileAndByte()
    {
        WriteFolder("pictures", ("a.png", "a.txt", "red"));
        File.WriteAllBytes(_folder["pictures/a.txt"], [.. "caf"u8, 0xE9]);
        using StoredPictures set = StoredPictures.Open(_folder["pictures"]);
        var refusal = Assert.Throws<RefusedFileException>(() => set.Caption(0));
        Assert.Equal((_folder["pictures/a.txt"], "byte 3"), (refusal.File, refusal.Place));
    }

    [Fact]
    public void IgnoredFiles_AreCountedAndNamed()
    {
        WriteFolder("pictures", ("top.png", "top.txt", "red"));
        foreach (string name in new[] { "b.bmp", "b.txt", "c.avif", "c.txt", "d.gif", ".hidden" })
        {
            File.WriteAllText(_folder["pictures/" + name], "x");
        }

        Directory.CreateDirectory(_folder["pictures/sub"]);
        using StoredPictures set = StoredPictures.Open(_folder["pictures"]);
        Assert.Equal(1, set.Count);
        Assert.Equal("6 (b.bmp, b.txt, c.avif, c.txt, d.gif, ...)", set.PassedOver.ToString());
        File.Delete(_folder["pictures/top.png"]);
        Assert.EndsWith(
            "there are none; supported extensions are .png, .jpg, .jpeg, .webp; files and folders ignored: 7 "
            + "(b.bmp, b.txt, c.avif, c.txt, d.gif, ...).",
            Assert.Throws<RefusedFileException>(() => StoredPictures.Open(_folder["pictures"])).Message);
    }

    [Fact]
    public void CaseOfEndings_DoesNotMatter_UnlessItMakesTwoCaptions()
    {
        WriteFolder("pictures", ("A.PNG", "A.TXT", "upper"), ("b.Png", "b.Txt", "mixed"), ("c.png", "c.txt", "lower"));
        using (StoredPictures set = StoredPictures.Open(_folder["pictures"]))
        {
            Assert.Equal(["upper", "mixed", "lower"], Enumerable.Range(0, 3).Select(i => set.Caption(i)));
            Assert.Equal(0, set.PassedOver.Count);
        }

        File.WriteAllText(_folder["pictures/A.txt"], "other");
        Assert.Contains(
            "is a caption of the same picture as A.TXT",
            Assert.Throws<RefusedFileException>(() => StoredPictures.Open(_folder["pictures"])).Message);
    }

    // A camera that was held upside down: the caption describes what the viewer shows.
    [Fact]
    public void PicturesOfAFolder_AreUpright_AndThoseOfADataSetAreAsTheyAreStored()
    {
        (byte[] stored, RgbImage upright) = OrientedPictures.Png(orientation: 3);
        Directory.CreateDirectory(_folder["pictures"]);
        File.WriteAllBytes(_folder["pictures/a.png"], stored);
        using (StoredPictures files = StoredPictures.Open(_folder["pictures"], withCaptions: false))
        {
            Assert.Equal(upright.Pixels, files.Picture(0).Pixels);
        }

        var writer = new MdsWriter(
            _folder["set"], new Dictionary<string, string> { ["image"] = "png" }, new MdsWriteOptions());
        writer.Write(new Dictionary<string, object> { ["image"] = (ReadOnlyMemory<byte>)stored });
        writer.Complete();
        using StoredPictures set = StoredPictures.Open(_folder["set"], withCaptions: false);
        Assert.Equal(ImageCodec.Decode(stored).Pixels, set.Picture(0).Pixels);
        Assert.NotEqual(upright.Pixels, set.Picture(0).Pixels);
    }

    [Fact]
    public void IdentityOfAFolder_CoversCaptionsAndBytes()
    {
        WriteFolder("pictures", ("a.png", "a.txt", "red"), ("b.png", "b.txt", "blue"));
        IReadOnlyDictionary<string, string> before = Identity("pictures");
        Assert.Equal(before, Identity("pictures"));
        File.WriteAllText(_folder["pictures/a.txt"], "red\n"); // The same words.
        Assert.Equal(before, Identity("pictures"));
        File.WriteAllText(_folder["pictures/a.txt"], "rod");
        Assert.Equal(["captions"], Differing(before, Identity("pictures")));
        File.WriteAllText(_folder["pictures/a.txt"], "red");
        byte[] png = File.ReadAllBytes(_folder["pictures/b.png"]);
        DateTime written = File.GetLastWriteTimeUtc(_folder["pictures/b.png"]);
        png[^20] ^= 1;
        File.WriteAllBytes(_folder["pictures/b.png"], png);
        File.SetLastWriteTimeUtc(_folder["pictures/b.png"], written);
        Assert.Equal(["picture files"], Differing(before, Identity("pictures")));
    }

    [Fact]
    public void IdentityOfADataSet_CoversItsBytesAndColumns()
    {
        Write("set", "author:str caption:str jpg:jpeg", "a red star", "a blue star");
        IReadOnlyDictionary<string, string> before = Identity("set");
        Assert.Equal(before, Identity("set"));
        Assert.Equal(["source"], Differing(before, Identity("set", new PictureColumns("author"))));
        byte[] shard = File.ReadAllBytes(_folder["set/shard.00000.mds"]);
        shard[shard.AsSpan().IndexOf("red"u8)] = (byte)'f';
        File.WriteAllBytes(_folder["set/shard.00000.mds"], shard);
        Assert.Equal(["shards"], Differing(before, Identity("set")));
    }

    private static string[] Differing(
        IReadOnlyDictionary<string, string> one, IReadOnlyDictionary<string, string> other)
    {
        Assert.Equal(one.Keys, other.Keys);
        return [.. one.Keys.Where(key => one[key] != other[key])];
    }

    private IReadOnlyDictionary<string, string> Identity(string name, PictureColumns? columns = null)
    {
        using StoredPictures set = StoredPictures.Open(_folder[name], columns);
        return set.Identify(TestContext.Current.CancellationToken);
    }

    private MdsIndex Index(string columns)
    {
        Write("set", columns, "\"x\"");
        return MdsIndex.Read(_folder["set"]);
    }

    // Columns are name:encoding; text columns contain the caption.
    private void Write(string name, string columns, params string[] captions)
    {
        var encodings = columns.Split(' ').Select(column => column.Split(':'))
            .ToDictionary(pair => pair[0], pair => pair[1]);
        var writer = new MdsWriter(_folder[name], encodings, new MdsWriteOptions());
        foreach (string caption in captions)
        {
            writer.Write(encodings.ToDictionary(pair => pair.Key, object (pair) => pair.Value switch
            {
                "int" => 1L,
                "jpeg" => (ReadOnlyMemory<byte>)ImageCodec.EncodeJpeg(Picture(), 90),
                "png" => (ReadOnlyMemory<byte>)PngFile(),
                _ => (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(caption),
            }));
        }

        writer.Complete();
    }

    private void WriteFolder(string name, params (string Picture, string? Caption, string? Words)[] files)
    {
        Directory.CreateDirectory(_folder[name]);
        foreach ((string picture, string? caption, string? words) in files)
        {
            File.WriteAllBytes(Path.Combine(_folder[name], picture), PngFile());
            if (caption is not null)
            {
                File.WriteAllText(Path.Combine(_folder[name], caption), words);
            }
        }
    }

    private static RgbImage Picture() => new(6, 4, PngTests.Picture(6, 4, 0, 1));

    private static byte[] PngFile()
    {
        using var png = new MemoryStream();
        Png.Write(png, Picture().Pixels, 6, 4, []);
        return png.ToArray();
    }
}
