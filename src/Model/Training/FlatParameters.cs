// All parameters of a network in one buffer and all gradients in another, so that the optimizer, the average and the
// exchange between workers are a few operations on long vectors.
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Training;

/// <summary>
/// Moves the parameters of a network into one flat tensor, in the order of their names. The network keeps working on
/// slices of it, and backward passes add into slices of <see cref="Gradients"/>.
/// </summary>
public sealed class FlatParameters : IDisposable
{
    private readonly (string Name, Parameter Parameter, long Start)[] _slices;

    /// <summary>Moves the parameters in their current precision.</summary>
    /// <param name="network">A network.</param>
    /// <param name="shared">
    /// Values of another network of the same architecture. This network then uses these values, with gradients of its
    /// own. Null to move this network's own weights.
    /// </param>
    /// <exception cref="ArgumentException">
    /// The network has no parameters, its parameters differ in precision, or the shared values do not match.
    /// </exception>
    public FlatParameters(Module network, Tensor? shared = null)
    {
        (string Name, Parameter Parameter)[] parameters = [.. Ordered(network)];
        if (parameters.Length == 0 || parameters.Select(p => p.Parameter.dtype).Distinct().Count() > 1)
        {
            throw new ArgumentException(
                "The network must have parameters, all of one precision.", nameof(network));
        }

        long total = parameters.Sum(p => p.Parameter.numel());
        ScalarType type = parameters[0].Parameter.dtype;
        if (shared is not null && (shared.numel() != total || shared.dtype != type))
        {
            throw new ArgumentException(
                $"The network has {total} parameters of {type}; the shared values are {shared.numel()} numbers of "
                + $"{shared.dtype}.",
                nameof(shared));
        }

        using var noGradients = no_grad();
        Values = shared?.alias().DetachFromDisposeScope()
            ?? empty([total], dtype: type, device: parameters[0].Parameter.device).DetachFromDisposeScope();
        Gradients = zeros_like(Values).DetachFromDisposeScope();
        _slices = new (string, Parameter, long)[parameters.Length];
        long start = 0;
        for (int i = 0; i < parameters.Length; i++)
        {
            using var scope = NewDisposeScope();
            (string name, Parameter parameter) = parameters[i];
            Tensor slice = Slice(Values, parameter, start);
            if (shared is null)
            {
                slice.copy_(parameter);
            }

            parameter.set_(slice);
            parameter.grad = Slice(Gradients, parameter, start); // The parameter keeps its own reference.
            _slices[i] = (name, parameter, start);
            start += parameter.numel();
        }
    }

    /// <summary>All parameters, [P].</summary>
    public Tensor Values { get; }

    /// <summary>All gradients, [P]. Backward passes add to them.</summary>
    public Tensor Gradients { get; }

    /// <summary>The parameters of a network in the order in which the flat tensor holds them.</summary>
    public static IEnumerable<(string Name, Parameter Parameter)> Ordered(Module network) =>
        network.named_parameters().OrderBy(one => one.name, StringComparer.Ordinal)
            .Select(one => (one.name, one.parameter));

    /// <summary>
    /// Views of a flat tensor [P] by parameter name, each in the shape of the parameter. The caller disposes them.
    /// </summary>
    public IEnumerable<(string Name, Tensor View)> Views(Tensor flat) =>
        _slices.Select(slice => (slice.Name, Slice(flat, slice.Parameter, slice.Start)));

    /// <inheritdoc/>
    public void Dispose()
    {
        Values.Dispose();
        Gradients.Dispose();
    }

    private static Tensor Slice(Tensor flat, Parameter parameter, long start) =>
        flat.narrow(0, start, parameter.numel()).view(parameter.shape);
}
