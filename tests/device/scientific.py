"""SciPy's and scikit-learn's functions for any array library, on clgrad's arrays: the examples, run as a script.

Both libraries read SCIPY_ARRAY_API when they are imported, so this runs in a process of its own. It prints, as JSON,
for each example either "ok" or what was wrong. An array that reached NumPy would raise: clgrad's do not convert
themselves.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] + 0.3 * RNG.standard_normal(60) > 0).astype(np.int64)
T = (X @ np.array([1, 2, 3, 4], np.float32) + np.float32(0.5)).astype(np.float32)
P = (1 / (1 + np.exp(-X[:, 0]))).astype(np.float32)
WEIGHTS = np.array([0.1, 0.2, 0.3, 0.9], np.float32)


def scipy_examples() -> dict[str, Callable[[Callable], Any]]:
    """By name: a function of the conversion from NumPy to the arrays it is to run on."""
    from scipy import cluster, differentiate, integrate, optimize, special, stats
    from scipy.optimize import elementwise
    from scipy.spatial.transform import Rotation

    return {
        "logsumexp": lambda f: special.logsumexp(f(X), axis=1, b=f(WEIGHTS)),
        "softmax": lambda f: special.softmax(f(X), axis=0),
        "zscore": lambda f: stats.zscore(f(X), axis=0, ddof=1),
        "skew": lambda f: stats.skew(f(X), axis=0, bias=False),
        "gmean": lambda f: stats.gmean(f(P)),
        "iqr": lambda f: stats.iqr(f(X), axis=0),
        "directional_stats": lambda f: stats.directional_stats(f(X)).mean_direction,
        "whiten": lambda f: cluster.vq.whiten(f(X)),
        "trapezoid": lambda f: integrate.trapezoid(f(X), axis=0),
        "cubature": lambda f: integrate.cubature(
            lambda t: t[:, 0] ** 2 * t[:, 1], f(np.zeros(2, np.float32)), f(np.ones(2, np.float32)),
            rtol=1e-4).estimate,
        "derivative": lambda f: differentiate.derivative(lambda t: t ** 3, f(P), initial_step=0.1).df,
        "find_root": lambda f: elementwise.find_root(
            lambda t, c: t ** 3 - c, (f(np.zeros(5, np.float32)), f(np.full(5, 9, np.float32))), args=(f(P[:5]),)).x,
        "rosen": lambda f: optimize.rosen(f(WEIGHTS)),
        "Rotation": lambda f: Rotation.from_euler("xyz", f(X[:5, :3])).apply(f(X[5:10, :3])),
    }


def sklearn_examples() -> dict[str, Callable[[Callable], Any]]:
    """By name, as above."""
    from sklearn import metrics, preprocessing
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge
    from sklearn.metrics import pairwise
    from sklearn.model_selection import train_test_split
    from sklearn.naive_bayes import GaussianNB

    return {
        "StandardScaler": lambda f: preprocessing.StandardScaler().fit(f(X)).transform(f(X[:7])),
        "MinMaxScaler": lambda f: preprocessing.MinMaxScaler().fit_transform(f(X)),
        "PolynomialFeatures": lambda f: preprocessing.PolynomialFeatures(2).fit_transform(f(X)),
        "LabelEncoder": lambda f: preprocessing.LabelEncoder().fit_transform(f(Y * 7)),
        "GaussianNB": lambda f: GaussianNB().fit(f(X), f(Y)).predict(f(X)),
        "accuracy_score": lambda f: metrics.accuracy_score(f(Y), f((P > 0.5).astype(np.int64))),
        "confusion_matrix": lambda f: metrics.confusion_matrix(f(Y), f((P > 0.4).astype(np.int64))),
        "log_loss": lambda f: metrics.log_loss(f(Y), f(P)),
        "r2_score": lambda f: metrics.r2_score(f(T), f(X[:, 3])),
        "rbf_kernel": lambda f: pairwise.rbf_kernel(f(X), f(X[:5])),
        "cosine_similarity": lambda f: pairwise.cosine_similarity(f(X)),
        "train_test_split": lambda f: train_test_split(f(X), f(Y), random_state=0)[1],
        "PCA": lambda f: abs(PCA(2, svd_solver="full").fit_transform(f(X))),
        "Ridge": lambda f: Ridge(solver="svd").fit(f(X), f(T)).predict(f(X)),
        "LinearDiscriminantAnalysis": lambda f: LinearDiscriminantAnalysis().fit(f(X), f(Y)).predict(f(X)),
    }


def _verdict(example: Callable, arrays: Callable[[Any], Any]) -> str:
    import clgrad

    try:
        want, got = np.asarray(example(lambda a: a)), arrays(example)
        if want.ndim and not isinstance(got, clgrad.Array):
            return f"gave a {type(got).__name__}"
        np.testing.assert_allclose(got.numpy() if isinstance(got, clgrad.Array) else got, want, rtol=2e-4, atol=2e-5)
    except Exception:
        return traceback.format_exc()
    return "ok"


def run(library: str) -> dict[str, str]:
    """The verdict on every example of "scipy" or "sklearn"."""
    from sklearn import config_context

    import clgrad.array as xp

    def dispatched(example: Callable) -> Any:
        with config_context(array_api_dispatch=True):
            return example(xp.asarray)

    examples = {"scipy": scipy_examples, "sklearn": sklearn_examples}[library]()
    how = {"scipy": lambda e: e(xp.asarray), "sklearn": dispatched}[library]
    return {name: _verdict(e, how) for name, e in examples.items()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(sys.argv[1])))
