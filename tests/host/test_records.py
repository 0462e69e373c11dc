"""What a record must have is checked when it is declared; what all records have is checked here."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import clgrad
from clgrad import ops
from clgrad.core import dtypes
from clgrad.core.dtypes import check_kind
from clgrad.core.errors import DTypeError
from clgrad.table import OPS, ZERO_GRAD, NoGrad, Op


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch):
    """Declares a record over a copy of the table, with sound fields unless told otherwise."""
    monkeypatch.setattr("clgrad.table.OPS", dict(OPS))

    def make(**fields: object) -> Op:
        sound = {"name": "probe", "args": "x, y, k=1", "family": "test", "tensors": ("x", "y"), "run": lambda *a: None,
                 "grad": [lambda g: g, ZERO_GRAD], "ref": np.add, "doc": "A record."}
        return Op(**sound | fields)

    return make


def test_a_sound_record(declare) -> None:
    op = declare(grad=[lambda g, y, out: g, lambda g, x_shape, k: g])
    assert op.attrs == ("k",)
    assert op.saves == ("y", "out")
    assert op.differentiable


def test_a_name_is_declared_once(declare) -> None:
    declare()
    with pytest.raises(TypeError, match="op probe: declared twice"):
        declare()


def test_a_rule_asks_for_known_names_only(declare) -> None:
    with pytest.raises(TypeError, match=r"op probe: its derivative asks for \['z'\], expected names from \["):
        declare(grad=[lambda g, z: g, ZERO_GRAD])


@pytest.mark.parametrize("grad", [None, [], [ZERO_GRAD]])
def test_every_tensor_needs_a_grad_entry(declare, grad) -> None:
    with pytest.raises(TypeError, match=r"op probe: needs a grad entry for each of \('x', 'y'\)"):
        declare(grad=grad)


def test_a_grad_entry_is_a_rule_or_a_marker(declare) -> None:
    with pytest.raises(TypeError, match="op probe: a grad entry is a rule, ZERO_GRAD or NoGrad, got 0"):
        declare(grad=[0, ZERO_GRAD])


@pytest.mark.parametrize("missing", [{"doc": ""}, {"ref": None}])
def test_doc_and_reference_are_needed(declare, missing) -> None:
    with pytest.raises(TypeError, match="op probe: needs a doc and a reference"):
        declare(**missing)


def test_tensors_open_the_signature(declare) -> None:
    with pytest.raises(TypeError, match=r"op probe: tensors \('y',\) must open the signature"):
        declare(tensors=("y",), grad=[ZERO_GRAD])


def test_keywords_are_of_arguments(declare) -> None:
    with pytest.raises(TypeError, match=r"op probe: keywords for \['z'\], which \(x, y, k=1\) has not"):
        declare(keywords={"z": "input"})


def test_no_grad_says_why() -> None:
    error = NoGrad("it is a count").error("probe")
    assert str(error).startswith("probe: has no derivative in this argument: it is a count. ")


def test_check_kind() -> None:
    with pytest.raises(DTypeError, match=r"op: got bool; expected signed integer, float\. Convert"):
        check_kind("op", "if", dtypes.float32, dtypes.bool_)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_each_record_has_its_function(op: Op) -> None:
    function = ops.ALL[op.name]
    assert function.op is op
    assert function.__doc__ == op.doc
    called = [op.keywords.get(n, n) for n in (*op.tensors, *op.attrs)]
    assert list(inspect.signature(function).parameters) == called + [*op.options, "out"] * op.public
    assert op.doc.endswith("."), "a doc is a sentence"
    assert set(op.kinds) <= set("biufc")
    for case in op.cases:
        assert op.sequence or len(case.shapes) <= len(op.tensors)
        assert case.attrs.keys() <= {*op.attrs, *op.tensors}  # a tensor may be given as a number
    if op.public and not op.method_only:
        for name in op.top_names:
            assert getattr(clgrad, name) is function
        assert op.namespace is None or getattr(getattr(clgrad, op.namespace), op.public_name) is function


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.method and not op.sequence], ids=lambda op: op.name)
def test_each_method_is_on_array_and_variable(op: Op) -> None:
    for kind in (clgrad.Array, clgrad.Variable):
        for name in op.top_names:
            assert callable(inspect.getattr_static(kind, name)) or isinstance(
                inspect.getattr_static(kind, name), property)
        if op.operator is not None:
            assert f"__{op.operator}__" in kind.__dict__
