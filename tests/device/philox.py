"""NumPy twin of the random kernels, bit for bit: fma is emulated exactly, the polynomials are the template's."""

from __future__ import annotations

import math

import numpy as np

from clgrad import kernels

_MODULE = kernels.template("reproducible").module
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


# exact fma -----------------------------------------------------------------------------------------------------------
def _two_sum(a, b):
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product(a, b):
    def halves(x):
        t = x * 134217729.0   # 2^27 + 1 (Dekker 1971)
        high = t - (t - x)
        return high, x - high
    p, (ah, al), (bh, bl) = a * b, halves(a), halves(b)
    return p, ((ah * bh - p) + ah * bl + al * bh) + al * bl


def _odd_sum(a, b):
    """a + b rounded to odd: where inexact, the neighbour whose last bit is set, so that rounding again is right."""
    s, error = _two_sum(a, b)
    even = (s.view(np.int64) & 1) == 0
    toward = np.where((error > 0) == (s > 0), 1, -1)   # one up or down in magnitude
    return np.where((error != 0) & even, (s.view(np.int64) + toward).view(np.float64), s)


def fma(a, b, c):
    """a b + c with one rounding, for float32 or float64 arrays far from overflow and underflow."""
    a, b, c = np.broadcast_arrays(a, b, c)
    if a.dtype == np.float32:   # the product is exact in 48 bits
        return _odd_sum(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)).astype(np.float32)
    high, low = _two_product(a, b)   # Boldo, Melquiond, "Emulation of FMA and correctly rounded sums", 2008
    u, v = _two_sum(c, low)
    t, w = _two_sum(high, u)
    return t + _odd_sum(w, v)


# bits ----------------------------------------------------------------------------------------------------------------
def philox4x32(counter, key, rounds=10):
    """counter: four uint64 arrays holding 32 bits each."""
    a, b, c, d = counter
    k0, k1 = (np.uint64(k) for k in key)
    for _ in range(rounds):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> _32) ^ b ^ k0, q & _LOW, (p >> _32) ^ d ^ k1, p & _LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return a, b, c, d


def philox2x32(a, b, key, rounds=7):
    key = np.uint64(key)
    for _ in range(rounds):
        p = a * np.uint64(0xD256D193)
        a, b = (p >> _32) ^ key ^ b, p & _LOW
        key = (key + np.uint64(0x9E3779B9)) & _LOW
    return a, b


def _words(blocks, seed, offset, stream):
    block = np.uint64(offset) + np.arange(blocks, dtype=np.uint64)
    s = np.full_like(block, stream)
    return philox4x32((block & _LOW, block >> _32, s & _LOW, s >> _32), (seed & 0xFFFFFFFF, seed >> 32))


def draw32(n, seed=0, offset=0, stream=0):
    return np.stack(_words(-(-n // 4), seed, offset, stream), 1).astype(np.uint32).ravel()[:n]


def draw64(n, seed=0, offset=0, stream=0):
    a, b, c, d = _words(-(-n // 2), seed, offset, stream)
    return np.stack([a | b << _32, c | d << _32], 1).ravel()[:n]


# kinds ---------------------------------------------------------------------------------------------------------------
def uniform(n, dtype="float32", **key):
    if dtype == "float64":
        return (draw64(n, **key) >> np.uint64(11)) * 2.0 ** -53
    if dtype == "float16":
        return ((draw32(n, **key) >> 21) * np.float32(2.0 ** -11)).astype(np.float16)
    return (draw32(n, **key) >> 8).astype(np.float32) * np.float32(2.0 ** -24)


def bernoulli(n, p, **key):
    return (uniform(n, **key) < np.float32(p)).astype(np.uint8)


def _mul_high(u, m):
    high, low, m_high, m_low = u >> _32, u & _LOW, np.uint64(m >> 32), np.uint64(m & 0xFFFFFFFF)
    t = high * m_low + (low * m_low >> _32)
    return high * m_high + (t >> _32) + ((low * m_high + (t & _LOW)) >> _32)


def randint(n, low, span, dtype="int64", **key):
    """span = high - low; 0 means 2^64."""
    u = draw64(n, **key)
    with np.errstate(over="ignore"):
        wide = (_mul_high(u, span) if span else u) + np.uint64(low % 2**64)
    return wide.astype(np.dtype(dtype).str.replace("i", "u")).view(dtype)


def normal_of(bits, real):
    """The bits' normal numbers: uint32 -> float32, uint64 -> float64."""
    double = real == np.float64
    table = _MODULE.DOUBLE if double else _MODULE.FLOAT
    width, mantissa, half_root, magic, sint = (
        (64, 52, 0x3FE6A09E667F3BCD, 0x5FE6EB50C7B537A9, np.int64) if double else
        (32, 23, 0x3F3504F3, 0x5F3759DF, np.int32))
    ln2 = real(0.6931471805599453)

    def polynomial(name, t):
        y = np.full_like(t, table[name][0])
        for c in table[name][1:]:
            y = fma(y, t, real(c))
        return y

    def centred(m, scale):
        if double:
            m = fma((m >> sint(32)).astype(real), real(2.0 ** 32), (m & sint(0xFFFFFFFF)).astype(real))
        return fma(m.astype(real), real(scale), real(0.5 * scale))

    def square_root(y):
        minus_half = y * real(-0.5)
        r = (sint(magic) - (y.view(sint) >> sint(1))).view(real)
        for _ in range(3 if double else 2):
            r = r * fma(minus_half * r, r, real(1.5))
        s = y * r
        return fma(fma(-s, s, y), r * real(0.5), s)

    ones = bits.dtype.type(2 ** (width - 1) - 1)
    m = (bits & ones).view(sint)
    p, x = centred(m, 2.0 ** -width), centred(m ^ sint(ones), 2.0 ** (1 - width))
    v = fma(-(p * real(4)), p, p * real(4))
    e = (v.view(sint) - sint(half_root)) >> sint(mantissa)
    f = (v.view(sint) - (e << sint(mantissa))).view(real) - real(1)
    u = fma(e.astype(real), ln2, polynomial("log", f))
    r = polynomial("centre", u + real(2.5))
    rare = u < -5
    s = square_root(np.where(rare, -u, real(5)))
    tail = polynomial("tail", s - real(3))
    if double:
        tail = np.where(s > 4, polynomial("deep", s - real(5)), tail)
    r = np.where(rare, tail, r)
    return ((x * r).view(bits.dtype) | (bits & ~ones)).view(real)


def normal(n, dtype="float32", **key):
    if dtype == "float64":
        return normal_of(draw64(n, **key), np.float64)
    return normal_of(draw32(n, **key), np.float32).astype(dtype)


def side_of(n):
    """ceil(sqrt(max(n, 256))): the host's argument to the permutation kernel."""
    return math.isqrt(max(n, 256) - 1) + 1


def permutation(n, seed=0, offset=0, stream=0):
    k = [int(w[0]) for w in _words(1, seed, offset, stream)]
    side, end = np.uint64(side_of(n)), np.uint64(n)

    def feistel(left, right):
        for r in range(8):
            f = philox2x32(right, np.uint64(k[(r + 1) & 3] ^ r), k[r & 3])[0]
            total = left + (f * side >> _32)
            left, right = right, np.where(total < side, total, total - side)
        return left, right

    i = np.arange(n, dtype=np.uint64)
    left, right = feistel(i // side, i % side)
    y = left * side + right
    while (todo := np.flatnonzero(y >= end)).size:
        left[todo], right[todo] = feistel(left[todo], right[todo])
        y[todo] = left[todo] * side + right[todo]
    return y.astype(np.int64)
