"""SciPy and scikit-learn on clgrad's arrays, end to end: see scientific.py for the examples."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(("library", "least"), [("scipy", 14), ("sklearn", 15)])
def test_examples(library: str, least: int, child, device) -> None:
    """Run in a process in which the libraries dispatch on the arrays' type; compared with what they give on NumPy's."""
    pytest.importorskip("scipy", minversion="1.17")  # the first to dispatch on any library's arrays in all of these
    pytest.importorskip("sklearn", minversion="1.8")
    done = child(["tests/device/scientific.py", library], timeout=300, SCIPY_ARRAY_API="1")
    verdicts = json.loads(done.stdout.splitlines()[-1])
    wrong = "\n".join(f"{name}: {verdict}" for name, verdict in verdicts.items() if verdict != "ok")
    assert not wrong, wrong
    assert len(verdicts) >= least
