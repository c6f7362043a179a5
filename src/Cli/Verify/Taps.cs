// A recorder of the outputs of a network's submodules, which uses hooks.
using Atelier.Model.Networks;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Cli.Verify;

/// <summary>Copies of the outputs of a network's submodules, by the submodules' names in the state dict.</summary>
public sealed class Taps : IDisposable
{
    private readonly Dictionary<string, List<Tensor>> _outputs = new(StringComparer.Ordinal);

    /// <summary>
    /// Records the outputs of the submodules in <paramref name="names"/>. Other outputs are not kept, because outputs
    /// are large.
    /// </summary>
    public Taps(Module network, IEnumerable<string> names)
    {
        var wanted = names.ToHashSet(StringComparer.Ordinal);
        foreach ((string name, Module module) in network.named_modules().Where(m => wanted.Contains(m.name)))
        {
            switch (module)
            {
                case Module<Tensor, Tensor> one:
                    one.register_forward_hook((_, _, output) => Record(name, output));
                    break;
                case Module<Tensor, Tensor, Tensor> two:
                    two.register_forward_hook((_, _, _, output) => Record(name, output));
                    break;
                case Module<Tensor, KeyValue, Tensor> attention:
                    attention.register_forward_hook((_, _, _, output) => Record(name, output));
                    break;
                case Module<Tensor, Tensor, KeyValue, Tensor> block:
                    block.register_forward_hook((_, _, _, _, output) => Record(name, output));
                    break;
                default:
                    break;
            }
        }
    }

    /// <summary>The last output of a submodule.</summary>
    /// <exception cref="KeyNotFoundException">No submodule of that name has run.</exception>
    public Tensor this[string name] => Outputs(name)[^1];

    /// <summary>
    /// The outputs of a submodule that processes the pictures of a batch one after another, joined into one batch.
    /// </summary>
    /// <exception cref="KeyNotFoundException">No submodule of that name has run.</exception>
    public Tensor Joined(string name) => cat(Outputs(name), dim: 0);

    /// <summary>Whether a submodule of that name has run.</summary>
    public bool Has(string name) => _outputs.ContainsKey(name);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Tensor output in _outputs.Values.SelectMany(outputs => outputs))
        {
            output.Dispose();
        }
    }

    private List<Tensor> Outputs(string name) => _outputs.TryGetValue(name, out List<Tensor>? outputs)
        ? outputs
        : throw new KeyNotFoundException($"The submodule {name} has not run.");

    private Tensor Record(string name, Tensor output)
    {
        if (!_outputs.TryGetValue(name, out List<Tensor>? outputs))
        {
            _outputs[name] = outputs = [];
        }

        outputs.Add(output.detach().clone().DetachFromDisposeScope());
        return output;
    }
}
