// The two kinds of feed-forward layers in MicroDiT: a SiLU-gated layer, and a mixture of experts in which the experts
// choose their tokens.
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Atelier.Model.Networks;

/// <summary>SiLU-gated feed-forward layer: w3(silu(w1 x) * w2 x).</summary>
public sealed class FeedForward : Module<Tensor, Tensor>
{
    [ComponentName(Name = "w1")] private readonly Linear _w1;
    [ComponentName(Name = "w2")] private readonly Linear _w2;
    [ComponentName(Name = "w3")] private readonly Linear _w3;

    /// <summary>Allocates a layer with <paramref name="hidden"/> hidden features.</summary>
    public FeedForward(int dim, int hidden, bool bias) : base(nameof(FeedForward))
    {
        _w1 = new Linear(dim, hidden, bias);
        _w2 = new Linear(dim, hidden, bias);
        _w3 = new Linear(hidden, dim, bias);
        RegisterComponents();
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        Tensor gate = Activations.Silu(_w1.call(input));                    // [B, T, F]
        return _w3.call(gate * _w2.call(input)).MoveToOuterDisposeScope();  // [B, T, D]
    }
}

/// <summary>
/// The tokens chosen by a layer's experts: each of E experts takes k of the T tokens of each of B pictures.
/// </summary>
/// <param name="Probabilities">Softmax over experts, [B, T, E].</param>
/// <param name="Gates">Probabilities of the chosen tokens, descending, [B, E, k].</param>
/// <param name="Tokens">The chosen tokens, [B, E, k] int64.</param>
public sealed record ExpertChoice(Tensor Probabilities, Tensor Gates, Tensor Tokens);

/// <summary>
/// Expert-choice mixture of experts (Zhou et al. 2022, arXiv 2202.09368): every expert takes the capacity * T / E
/// tokens that have the highest probability for this expert. A token may be taken by several experts. If no expert
/// takes a token, its output is zero.
/// </summary>
/// <remarks>
/// Chosen rows are gathered, pass through their expert, and are added back, one expert after another. A token occurs at
/// most once per expert, so the additions of one expert never hit the same row twice, in the forward or the backward
/// pass, and every device adds in the same order.
/// </remarks>
public sealed class ExpertChoiceFeedForward : Module<Tensor, Tensor>
{
    [ComponentName(Name = "w1")] private readonly Parameter _w1;
    [ComponentName(Name = "w2")] private readonly Parameter _w2;
    [ComponentName(Name = "gate")] private readonly Linear _gate;
    private readonly int _experts;
    private readonly double _capacity;

    /// <summary>Allocates E experts with <paramref name="hidden"/> hidden features each.</summary>
    public ExpertChoiceFeedForward(int experts, double capacity, int dim, int hidden)
        : base(nameof(ExpertChoiceFeedForward))
    {
        (_experts, _capacity) = (experts, capacity);
        _w1 = new Parameter(empty(experts, dim, hidden));
        _w2 = new Parameter(empty(experts, hidden, dim));
        _gate = new Linear(dim, experts, bias: false);
        RegisterComponents();
    }

    /// <summary>Number of tokens that each expert takes if there are <paramref name="tokens"/>.</summary>
    public int TokensPerExpert(long tokens) => (int)(_capacity * tokens / _experts);

    /// <summary>Lets the experts choose among tokens [B, T, D]. The caller owns the tensors.</summary>
    public ExpertChoice Choose(Tensor input)
    {
        Tensor probabilities = functional.softmax(_gate.call(input), dim: -1);                    // [B, T, E]
        (Tensor gates, Tensor tokens) = probabilities.transpose(1, 2).topk(TokensPerExpert(input.shape[1]), dim: -1);
        return new ExpertChoice(probabilities, gates, tokens);                                    // [B, E, k]
    }

    /// <inheritdoc/>
    public override Tensor forward(Tensor input)
    {
        if (TokensPerExpert(input.shape[1]) == 0)
        {
            return zeros_like(input);
        }

        using var scope = NewDisposeScope();
        (long batch, long tokens, long dim) = (input.shape[0], input.shape[1], input.shape[2]);
        ExpertChoice choice = Choose(input);
        Tensor rows = (choice.Tokens + (arange(batch, device: input.device) * tokens).view(-1, 1, 1))
            .transpose(0, 1).reshape(_experts, -1).contiguous();                                   // [E, B k]
        Tensor taken = RowExchange.Gather(input.reshape(-1, dim), rows);                           // [E, B k, D]
        Tensor hidden = functional.gelu(bmm(taken, _w1));                                          // [E, B k, F]
        Tensor gates = choice.Gates.transpose(0, 1).reshape(_experts, -1, 1);                      // [E, B k, 1]
        Tensor given = bmm(hidden, _w2) * gates;                                                   // [E, B k, D]
        return RowExchange.ScatterSum(given, rows, batch * tokens)
            .view(batch, tokens, dim).MoveToOuterDisposeScope();                                   // [B, T, D]
    }
}

/// <summary>
/// Moves rows to experts and back. Each of the two operations is the derivative of the other, so the backward passes
/// use the same two operations. libtorch's own derivative of a gather uses atomic additions on GPUs, whose order
/// varies.
/// </summary>
internal static class RowExchange
{
    /// <summary>Gathers the rows [E, k] of source [N, D]: [E, k, D].</summary>
    public static Tensor Gather(Tensor source, Tensor rows) =>
        is_grad_enabled() ? GatherFunction.apply(source, rows) : GatherRows(source, rows);

    /// <summary>Adds given [E, k, D] to the rows [E, k] of a tensor [count, D] of zeros, expert by expert.</summary>
    public static Tensor ScatterSum(Tensor given, Tensor rows, long count) =>
        is_grad_enabled() ? ScatterFunction.apply(given, rows, count) : AddRows(given, rows, count);

    private static Tensor GatherRows(Tensor source, Tensor rows) =>
        source.index_select(0, rows.view(-1)).view(rows.shape[0], rows.shape[1], source.shape[1]);

    private static Tensor AddRows(Tensor given, Tensor rows, long count)
    {
        Tensor sum = zeros([count, given.shape[2]], dtype: given.dtype, device: given.device);
        using var scope = NewDisposeScope();
        for (long expert = 0; expert < given.shape[0]; expert++)
        {
            sum.index_add_(0, rows[expert], given[expert], 1);
        }

        return sum;
    }

    private sealed class GatherFunction : autograd.SingleTensorFunction<GatherFunction>
    {
        public override string Name => nameof(GatherFunction);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (Tensor source, Tensor rows) = ((Tensor)vars[0], (Tensor)vars[1]);
            ctx.save_for_backward([rows]);
            ctx.save_data("count", source.shape[0]);
            return GatherRows(source, rows);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) =>
            [AddRows(grad_output, ctx.get_saved_variables()[0], (long)ctx.get_data("count")), null!];
    }

    private sealed class ScatterFunction : autograd.SingleTensorFunction<ScatterFunction>
    {
        public override string Name => nameof(ScatterFunction);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (Tensor given, Tensor rows) = ((Tensor)vars[0], (Tensor)vars[1]);
            ctx.save_for_backward([rows]);
            return AddRows(given, rows, (long)vars[2]);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) =>
            [GatherRows(grad_output, ctx.get_saved_variables()[0]), null!, null!];
    }
}
