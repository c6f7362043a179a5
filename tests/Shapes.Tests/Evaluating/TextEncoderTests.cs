// Goal: the output of the shipped text encoder differs whenever two prompts ask for different pictures. Method: prompts
// that differ in one word, or in the order of the same words.
using Atelier.Model.Pipeline;
using TorchSharp;
using Xunit;

namespace Atelier.Shapes.Tests.Evaluating;

public sealed class TextEncoderTests
{
    [Theory]
    [InlineData("a star to the left of a house", "a star to the right of a house")]
    [InlineData("a star above a house", "a star below a house")]
    [InlineData("a star above a house", "a house above a star")]
    [InlineData("a star inside a circle", "a star above a circle")]
    [InlineData("a red star and a blue house", "a blue star and a red house")]
    [InlineData("two stars", "three stars")]
    [InlineData("a small star", "a big star")]
    public void States_TellWhatIsAskedFor(string prompt, string other)
    {
        torch.set_num_threads(1);
        using var noGradients = torch.inference_mode();
        using Encoders encoders = Encoders.Load(Repository.At("models/shapes"));
        using torch.Tensor first = States(encoders, prompt), second = States(encoders, other);
        float[] change = (first - second).norm(1).div(first.norm(1)).data<float>().ToArray();
        Assert.InRange(change.Max(), 0.4, 2);
    }

    // [T, D], float32.
    private static torch.Tensor States(Encoders encoders, string prompt)
    {
        long[] ids = [.. encoders.Tokenizer.Encode(prompt).Select(id => (long)id)];
        int said = Array.IndexOf(ids, encoders.Tokenizer.EndId) + 1;
        return encoders.Text.Encode(torch.tensor(ids, [1, ids.Length]))[0].slice(0, 0, said, 1).to(
            torch.ScalarType.Float32);
    }
}
