"""Which candidate to try next: everything in a small space, else steps to neighbours from the best, and restarts.

What is known of a parameter's value is the mean score of the candidates that had it, in this search and in earlier ones
of the family: that alone decides what is tried first. The same seed and the same scores give the same order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ..runtime.tuned import Params

EXHAUSTIVE = 40  # a space up to this size is tried as a whole
_DRAWN = 8  # random points of which the most promising one is a restart
_HOPELESS = 0.5  # a restart that is this much (log of a speedup) behind the best is not climbed from
_FAILED = -1.0  # the score (log of a speedup) that a failed candidate counts as


def frozen(p: Params) -> tuple:
    """Parameters as a key."""
    return tuple(sorted(p.items()))


class Ranking:
    """Mean log-speedup by parameter and value."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], list[float]] = {}

    def tell(self, p: Params, score: float) -> None:
        """Take a candidate's score into account."""
        for item in p.items():
            entry = self._sums.setdefault(item, [0.0, 0.0])
            entry[0] += score
            entry[1] += 1

    def guess(self, p: Params) -> float:
        """What the values of these parameters gave elsewhere; 0, the default's, for what nobody tried."""
        return sum(total / (count + 1) for total, count in (self._sums.get(item, (0.0, 0.0)) for item in p.items()))


class Search:
    """Proposes candidates of a space one by one. ``start`` is where it begins: the default, or what it is near to."""

    def __init__(self, space: Sequence[Params], start: Params, seed: int = 0, ranking: Ranking | None = None) -> None:
        self._random = random.Random(seed)
        self._ranking = Ranking() if ranking is None else ranking
        self._axes = {name: sorted({p[name] for p in space}) for name in (space[0] if space else {})}
        self._left = {frozen(p): p for p in space}
        self._size = len(space)
        self._centre, self._centre_score = dict(start), 0.0
        self._queue: list[Params] = []
        self._fresh = True  # whether the centre's neighbours have not been queued yet
        self.scores: dict[tuple, float] = {}

    @property
    def exhaustive(self) -> bool:
        """Whether all of the space will be tried."""
        return self._size <= EXHAUSTIVE

    @property
    def left(self) -> int:
        """How many candidates have not been tried."""
        return len(self._left)

    def tell(self, p: Params, speedup: float | None) -> None:
        """The speedup of a candidate over the default; None where it failed."""
        score = _FAILED if speedup is None else math.log(max(speedup, 1e-9))
        key = frozen(p)
        self._left.pop(key, None)
        self.scores[key] = score
        self._ranking.tell(p, score)
        if speedup is not None and score > max(self._centre_score + 0.01, max(self.scores.values()) - _HOPELESS):
            self._centre, self._centre_score, self._fresh = dict(p), score, True
            self._queue.clear()

    def propose(self) -> Params | None:
        """The next candidate; None when all were tried."""
        if not self._left:
            return None
        if self.exhaustive:
            return self._best(list(self._left.values()))
        if self._fresh:
            self._queue, self._fresh = self._neighbours(), False
        while self._queue:
            chosen = self._best(self._queue)
            self._queue.remove(chosen)
            if frozen(chosen) in self._left:
                return chosen
        return self._restart()

    def _neighbours(self) -> list[Params]:
        """Untried candidates that differ from the centre by one step of one parameter."""
        near = []
        for name, values in self._axes.items():
            at = min(range(len(values)), key=lambda i: abs(values[i] - self._centre.get(name, values[0])))
            for step in (at - 1, at, at + 1):
                if 0 <= step < len(values):
                    near.append({**self._centre, name: values[step]})
        return [p for p in near if frozen(p) in self._left]

    def _restart(self) -> Params:
        """A promising random point; steps go on from there, if it does well."""
        left = list(self._left.values())
        self._centre_score, self._fresh = -math.inf, False
        return self._best(self._random.sample(left, min(_DRAWN, len(left))))

    def _best(self, some: list[Params]) -> Params:
        return max(some, key=self._ranking.guess)
