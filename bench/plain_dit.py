"""A plain PyTorch forward pass of the network that `atelier bench gpu` measured, at the same shapes, for comparison.

    ./atelier bench gpu --json gpu.json && python3 bench/plain_dit.py gpu.json

Uses only torch.nn, in bfloat16, with random weights and without the model's numerical details. An expert layer is
replaced by its dense equivalent: the products of the chosen rows, without choosing, gathering and scattering them.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class Attention(nn.Module):
    """Self-attention, or cross-attention to a caption with precomputed keys and values."""

    def __init__(self, dim, width, head, cross=False):
        super().__init__()
        self.width, self.heads, self.cross = width, width // head, cross
        self.project_in = nn.Linear(dim, width if cross else 3 * width, bias=False)
        self.project_out = nn.Linear(width, dim, bias=False)

    def split(self, x, normalise):
        x = F.layer_norm(x, x.shape[-1:]) if normalise else x
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, caption=None):
        parts = self.project_in(x).split(self.width, dim=2)
        q = self.split(parts[0], True)
        k, v = caption if self.cross else (self.split(parts[1], True), self.split(parts[2], False))
        return self.project_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.w1, self.w2 = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.w3 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.w3(F.silu(self.w1(x)) * self.w2(x))


class DenseExperts(nn.Module):
    """Every expert processes as many rows as it would choose: capacity * T / E of the T rows of each sample."""

    def __init__(self, dim, hidden, experts, capacity):
        super().__init__()
        self.experts, self.capacity = experts, round(capacity)
        self.gate = nn.Linear(dim, experts, bias=False)
        self.w1 = nn.Parameter(torch.randn(experts, dim, hidden) * dim ** -0.5)
        self.w2 = nn.Parameter(torch.randn(experts, hidden, dim) * hidden ** -0.5)

    def forward(self, x):
        b, t, d = x.shape
        gates = self.gate(x).softmax(-1)
        rows = x.reshape(b * t, d).repeat(self.capacity, 1).view(self.experts, -1, d)
        y = torch.bmm(F.gelu(torch.bmm(rows, self.w1)), self.w2)
        return y.view(self.capacity, b, t, d).sum(0) * gates[..., :1]


class Block(nn.Module):
    def __init__(self, shape, net):
        super().__init__()
        width = shape["width"]
        self.modulation = nn.Linear(net["dim"], 6 * width, bias=False)
        self.self_attention = Attention(width, shape["attentionWidth"], net["headDim"])
        self.cross_attention = Attention(width, width, net["headDim"], cross=True)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp = (
            DenseExperts(width, shape["feedForwardWidth"], net["experts"], net["capacity"])
            if shape["hasExperts"] else Gated(width, shape["feedForwardWidth"]))

    def project(self, y):
        k, v = self.key_value(y).chunk(2, dim=2)
        return self.cross_attention.split(k, True), self.cross_attention.split(v, False)

    def forward(self, x, c, caption):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(c)).chunk(6, dim=1)
        x = x + gate1.unsqueeze(1) * self.self_attention(modulate(self.norms[0](x), shift1, scale1))
        x = x + self.cross_attention(self.norms[1](x), caption)
        return x + gate2.unsqueeze(1) * self.mlp(modulate(self.norms[2](x), shift2, scale2))


class PlainDit(nn.Module):
    def __init__(self, net):
        super().__init__()
        dim, channels = net["dim"], net["captionChannels"]
        mixer_dim = net["mixer"][0]["width"]
        self.patches = nn.Linear(net["patchValues"], dim)
        self.noise = nn.Sequential(nn.Linear(512, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.caption = nn.Sequential(nn.Linear(channels, dim), nn.GELU("tanh"), nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.pooled = nn.Sequential(nn.Linear(dim, dim), nn.GELU("tanh"), nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.caption_norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.caption_attention = Attention(dim, dim, net["headDim"])
        self.caption_mlp = Gated(dim, net["captionHidden"])
        maps = (dim, mixer_dim), (mixer_dim, dim), (dim, mixer_dim)
        self.maps = nn.ModuleList(nn.Identity() if a == b else nn.Linear(a, b, bias=False) for a, b in maps)
        self.mixer = nn.ModuleList(Block(shape, net) for shape in net["mixer"])
        self.backbone = nn.ModuleList(Block(shape, net) for shape in net["backbone"])
        self.final_modulation = nn.Linear(dim, 2 * dim)
        self.final = nn.Linear(dim, net["patchValues"])

    def forward(self, patches, frequencies, captions, kept):
        y = self.caption(captions)
        y = y + self.caption_attention(self.caption_norms[0](y))
        y = y + self.caption_mlp(self.caption_norms[1](y))
        c = self.noise(frequencies) + self.pooled(y.mean(1))
        x, y_mixer = self.maps[0](self.patches(patches)), self.maps[2](y)
        for block in self.mixer:
            x = block(x, c, block.project(y_mixer))
        x = self.maps[1](x[:, :kept])
        for block in self.backbone:
            x = block(x, c, block.project(y))
        shift, scale = self.final_modulation(F.silu(c)).chunk(2, dim=1)
        return self.final(modulate(F.layer_norm(x, x.shape[-1:]), shift, scale))


def best(work, device):
    """The best time in seconds of three runs after a warm-up; on a GPU, of as many runs as fit into two seconds."""
    times = []
    while len(times) < 4 or (device == "cuda" and sum(times) < 2):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        figures = json.load(file)
    device, net = figures["device"], figures["widths"]
    matmul = max(m["flops"] / m["seconds"] for m in figures["matmul"])
    torch.manual_seed(1)
    model = PlainDit(net).to(device=device, dtype=torch.bfloat16).eval()
    print(f"plain PyTorch {torch.__version__}, the same shapes, in bfloat16 on {device}")
    print(f"{'forward':34}{'ms':>10}{'TFLOP/s':>10}{'of matmul':>11}{'atelier ms':>12}{'ratio':>8}")
    for stage in figures["stages"]:
        batch, tokens = stage["batch"], (stage["latent"] // 2) ** 2
        make = lambda *shape: torch.randn(*shape, device=device, dtype=torch.bfloat16)  # noqa: E731
        patches, frequencies = make(batch, tokens, net["patchValues"]), make(batch, 512)
        captions = make(batch, net["captionLength"], net["captionChannels"])
        with torch.inference_mode():
            seconds = best(lambda: model(patches, frequencies, captions, stage["kept"]), device)
        ours, rate = stage["forward"]["seconds"], stage["forward"]["flops"] / seconds
        name, share = f"{stage['stage']}, batch {batch}", rate / matmul
        print(f"{name:34}{1e3 * seconds:10.2f}{rate / 1e12:10.2f}{share:11.1%}{1e3 * ours:12.2f}{ours / seconds:8.2f}")


if __name__ == "__main__":
    main()
