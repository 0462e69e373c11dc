"""A character LSTM: learns to continue a text, by default this file, one character after the other."""

import argparse
from pathlib import Path

import numpy as np

import clgrad
from clgrad import nn, optim


class CharLSTM(nn.Module):
    """Scores of the next character at each place of (N, L) characters, and the state that goes on from there."""

    def __init__(self, characters: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, characters)

    def forward(self, x, state=None):
        y, state = self.lstm(self.embedding(x), state)
        return self.head(y), state


def windows(codes: np.ndarray, batch: int, length: int, rng: np.random.Generator) -> clgrad.Variable:
    """``batch`` stretches of the text, one character longer than the network sees: the last is only predicted."""
    starts = rng.integers(0, len(codes) - length, batch)
    return clgrad.tensor(codes[starts[:, None] + np.arange(length + 1)])


def train(model: nn.Module, codes: np.ndarray, options: argparse.Namespace) -> list[float]:
    """The loss of each step in nats a character."""
    rng, losses = np.random.default_rng(options.seed), []
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    for step in range(1, options.steps + 1):
        text = windows(codes, options.batch_size, options.length, rng)
        scores, _ = model(text[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
        if step % options.report == 0 or step == options.steps:
            print(f"step {step:5d}: loss {clgrad.stack(losses[-options.report:]).mean().item():.3f}", flush=True)
    return clgrad.stack(losses).tolist()


def sample(model: nn.Module, prompt: np.ndarray, count: int, temperature: float) -> list[int]:
    """``count`` characters after the prompt, each drawn from the scores over ``temperature``; 0 takes the best one.
    They stay on the device until all are drawn."""
    drawn = []
    with clgrad.no_grad():
        scores, state = model(clgrad.tensor(prompt[None]))
        for _ in range(count):
            last = scores[:, -1]
            if temperature > 0:
                drawn.append(clgrad.multinomial(clgrad.softmax(last / temperature, -1), 1))
            else:
                drawn.append(last.argmax(-1, keepdim=True))
            scores, state = model(drawn[-1], state)
    return clgrad.cat(drawn, 1)[0].tolist() if drawn else []


def main(arguments: list[str] | None = None) -> tuple[list[float], str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="gpu, cpu, or part of a device's name (default: the best one)")
    parser.add_argument("--text", type=Path, default=Path(__file__), help="UTF-8 file to learn (default: this one)")
    parser.add_argument("--prompt", default="", help="text to continue (default: the file's first character)")
    parser.add_argument("--sample", type=int, default=400, help="characters to draw")
    parser.add_argument("--temperature", type=float, default=0.7, help="above 1 wilder; 0 takes the likeliest")
    for name, value in (("hidden", 128), ("layers", 2), ("length", 64), ("batch-size", 32), ("steps", 600),
                        ("report", 50), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=5e-3)
    options = parser.parse_args(arguments)
    text = options.text.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    prompt = options.prompt or text[:1]
    if len(text) <= options.length or set(prompt) - set(alphabet):
        parser.error(f"the text needs more than --length {options.length} characters, and every one of the prompt's")
    codes = np.searchsorted(alphabet, list(text)).astype(np.int64)
    with clgrad.device(options.device) as device:
        print(f"device: {device} ({device.name}); {len(text)} characters, {len(alphabet)} different ones")
        clgrad.manual_seed(options.seed)
        model = CharLSTM(len(alphabet), options.hidden, options.layers)
        losses = train(model, codes, options)
        drawn = sample(model, np.searchsorted(alphabet, list(prompt)), options.sample, options.temperature)
    print(written := prompt + "".join(alphabet[i] for i in drawn))
    return losses, written


if __name__ == "__main__":
    main()
