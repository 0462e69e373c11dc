"""The kernel templates: what each file must carry, and names that Mako keeps for itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import clgrad
from clgrad import kernels

TEMPLATES = sorted(Path(clgrad.__file__).parent.glob("kernels/*.mako"))
# Mako's own names: ${local} writes the template's namespace, not the value given for "local". Used as what they are
# (capture(...), context.get(...)) they are welcome.
RESERVED = re.compile(
    r"(?<![\w.\"'])(?:context(?!\.)|UNDEFINED|capture(?!\()|caller|self|parent|local|next)(?![\w\"'=])")
EXPRESSION = re.compile(r"\$\{([^}]*)\}|^\s*%(.*)$", re.MULTILINE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_templates_use_no_name_of_makos(path: Path) -> None:
    text = re.sub(r"<%.*?%>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    used = [m.group(0).strip() for m in EXPRESSION.finditer(text) if RESERVED.search(m.group(1) or m.group(2) or "")]
    assert used == []


@pytest.mark.parametrize("path", [p for p in TEMPLATES if p.stem != "prelude"], ids=lambda p: p.stem)
def test_a_family_is_whole(path: Path) -> None:
    """Parameters, their defaults and the validity check stand in the kernel's own file, where it has any."""
    module = kernels.template(path.stem).module
    has = [name for name in ("PARAMS", "DEFAULT", "valid") if hasattr(module, name)]
    assert has in ([], ["PARAMS", "DEFAULT", "valid"])


def test_an_undefined_name_raises() -> None:
    with pytest.raises((NameError, TypeError, AttributeError)):
        kernels.render("elementwise")
