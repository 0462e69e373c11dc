"""Ops of your own: a fused elementwise op from a C expression and its derivatives, and a whole kernel from a template.

Both run on any device, are differentiable to any order, and are checked against central differences.
"""

import argparse

import numpy as np

import clgrad
from clgrad import custom
from clgrad.testing import gradcheck


def _gate_slope(g, x, y):
    s = clgrad.sigmoid(y)
    return g * x * s * (1 - s)


# One launch where x * sigmoid(y) + b would take three. A rule's parameter names say what is kept for it.
gate = custom.elementwise(
    "gate", "x, y, b",
    c="x / (ONE + exp(-y)) + b",
    grad=[lambda g, y: g * clgrad.sigmoid(y), _gate_slope, lambda g: g],
    ref=lambda x, y, b: x / (1 + np.exp(-y)) + b,
    doc="x * sigmoid(y) + b, broadcast.")

# out[r][c] = sum over taps of weight * x[r + dr][c + dc], zero outside. The taps are written into the kernel: each set
# of them is a kernel of its own, without a loop or a table. An array is a pointer and the place of its first element.
stencil = custom.Kernel("stencil", """
${prelude.extensions(T)}
kernel void stencil(global ${T} *out, long out_at, global const ${T} *x, long x_at, int rows, int columns)
{
    const int c = get_global_id(0), r = get_global_id(1);
    ${T} sum = 0;
    % for dr, dc, weight in taps:
    if (r + (${dr}) >= 0 && r + (${dr}) < rows && c + (${dc}) >= 0 && c + (${dc}) < columns)
        sum += (${T})${float(weight)} * x[x_at + (long)(r + (${dr})) * columns + c + (${dc})];
    % endfor
    out[out_at + (long)r * columns + c] = sum;
}
""", "wrii")


class Stencil(clgrad.Function):
    """The sum over ``taps`` (row, column, weight) at each element of a float32 or float64 matrix."""

    @staticmethod
    def forward(ctx, x, taps):
        ctx.taps = taps
        x, out = x.contiguous(), clgrad.empty(x.shape, dtype=x.dtype, device=x.device)
        rows, columns = x.shape
        stencil((columns, rows), None, out, x, rows, columns, taps=taps, T=x.dtype.c)
        return out

    @staticmethod
    def backward(ctx, g):
        """What reached out[r] from x[r + d] flows back from out[r] to x[r + d]: the taps mirrored."""
        return Stencil.apply(g, tuple((-r, -c, w) for r, c, w in ctx.taps)), None


LAPLACE = ((0, 0, -4), (0, 1, 1), (1, 0, 1), (0, -1, 1), (-1, 0, 1))
SLOPE = ((0, 2, -0.5), (0, 1, 2), (0, 0, -1.5))  # d/dcolumn from one side: not symmetric, so mirroring shows


def main(arguments: list[str] | None = None) -> clgrad.Variable:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="gpu, cpu, or part of a device's name (default: the best one)")
    with clgrad.device(parser.parse_args(arguments).device) as device:
        print(f"device: {device} ({device.name})")
        x, y, b = (clgrad.randn(*shape, requires_grad=True) for shape in ((4, 5), (4, 5), (5,)))
        print("gate:", gate(x, y, b).shape, "in one launch; with numbers too:", gate(x, 0.0, 1.0).shape)
        image = clgrad.zeros(5, 5)
        image[2, 2] = 1.0
        print("Laplacian of a point:", laplacian := Stencil.apply(image, LAPLACE), sep="\n")
        if device.facts.fp64:
            doubles = [clgrad.randn(*v.shape, dtype=clgrad.float64, requires_grad=True) for v in (x, y, b)]
            gradcheck(gate, doubles)
            for taps in (LAPLACE, SLOPE):
                gradcheck(lambda v, taps=taps: Stencil.apply(v, taps) ** 2, doubles[:1])
            print("derivatives agree with central differences to the second order")
    return laplacian


if __name__ == "__main__":
    main()
