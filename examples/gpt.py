"""A small GPT, after GPT-2 (Radford et al. 2019): learns a text, by default this file, and continues it."""

import argparse
import math
from pathlib import Path

import numpy as np

import clgrad
from clgrad import nn, optim
from clgrad.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        N, L, E = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(N, L, 3, self.heads, E // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(N, L, E))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Scores of the next token at each place of (N, L <= context) tokens."""

    def __init__(self, tokens: int, context: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.context, self.token, self.position = context, nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        for name, p in self.named_parameters():
            if p.ndim > 1:  # what is added to the residual stream starts smaller, as it adds up over the layers
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if "out" in name or "mlp.2" in name else 0.02)
        self.head.weight = self.token.weight

    def forward(self, x):
        x = self.token(x) + self.position(clgrad.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(x)))

    @clgrad.no_grad()
    def write(self, x, count: int, temperature: float):
        """The tokens (N, L), and ``count`` more drawn after them."""
        for _ in range(count):
            scores = self(x[:, -self.context:])[:, -1]
            x = clgrad.cat([x, clgrad.multinomial(clgrad.softmax(scores / temperature, -1), 1)], 1)
        return x


def train(model: GPT, codes: np.ndarray, options: argparse.Namespace) -> list[float]:
    """The loss of each step in nats a character."""
    decayed = [p for p in model.parameters() if p.ndim > 1]  # norms and biases are left to themselves
    groups = [{"params": decayed}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer, losses = optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.95), weight_decay=0.1), []
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(  # up within a tenth of the steps, then a cosine
        10 * (step + 1) / options.steps, 0.55 + 0.45 * math.cos(math.pi * step / options.steps)))
    for rng in np.random.default_rng(0).spawn(options.steps):
        starts = rng.integers(0, len(codes) - model.context, options.batch_size)
        text = clgrad.tensor(codes[starts[:, None] + np.arange(model.context + 1)])
        loss = F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if len(losses) % 50 == 0:
            print(f"step {len(losses):5d}: loss {loss.item():.3f}", flush=True)
    return clgrad.stack(losses).tolist()


def main(arguments: list[str] | None = None) -> tuple[list[float], str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="gpu, cpu, or part of a device's name (default: the best one)")
    parser.add_argument("--text", type=Path, default=Path(__file__), help="UTF-8 file to learn (default: this one)")
    for name, value in (("width", 128), ("heads", 4), ("layers", 4), ("context", 64), ("batch-size", 32),
                        ("steps", 500), ("sample", 400), ("lr", 2e-3), ("temperature", 0.7)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    options = parser.parse_args(arguments)
    alphabet = sorted(set(text := options.text.read_text(encoding="utf-8")))
    if len(text) <= options.context or options.width % options.heads:
        parser.error("the text must be longer than --context, and --width a multiple of --heads")
    with clgrad.device(options.device) as device:
        clgrad.manual_seed(0)
        model = GPT(len(alphabet), options.context, options.width, options.heads, options.layers)
        print(f"device: {device} ({device.name}); {sum(p.numel() for p in model.parameters()):,} parameters")
        losses = train(model, np.searchsorted(alphabet, list(text)).astype(np.int64), options)
        drawn = model.write(clgrad.tensor([[alphabet.index(text[0])]]), options.sample, options.temperature)
    print(written := "".join(alphabet[i] for i in drawn[0].tolist()))
    return losses, written


if __name__ == "__main__":
    main()
