using TorchSharp;
Console.WriteLine(torch.randn(5, generator: new torch.Generator(42, torch.CPU)).ToString(TensorStringStyle.Numpy));
