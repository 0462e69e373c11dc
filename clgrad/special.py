"""Special functions by PyTorch's names: aliases of records. Arguments are Arrays or Variables."""

from __future__ import annotations

from .ops import ALL as _ALL

_NAMES = {"psi": "digamma", "expit": "sigmoid", "gammaln": "lgamma", "multigammaln": "mvlgamma"}
_SAME = ("digamma", "entr", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "i0e", "i1", "i1e", "log1p", "log_softmax",
         "logit", "logsumexp", "ndtr", "polygamma", "round", "sinc", "softmax", "xlog1py", "xlogy", "zeta")
globals().update({name: _ALL[_NAMES.get(name, name)] for name in (*_NAMES, *_SAME)})
__all__ = [*_NAMES, *_SAME]


