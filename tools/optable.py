"""Write the README's op table and settings table from the records. ``--check`` only says whether they are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import clgrad.ops
from clgrad.core.config import SETTINGS
from clgrad.table import OPS, Op, Rule

README = Path(__file__).resolve().parents[1] / "README.md"
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


def _kinds(op: Op) -> str:
    return "all" if set(op.kinds) == set(_KINDS) else ", ".join(name for k, name in _KINDS.items() if k in op.kinds)


def _derivative(op: Op) -> str:
    """In which arguments it can be differentiated."""
    if op.composite:
        return "of its parts"
    if op.joint is not None:
        return "yes"
    having = [t for t, rule in zip(op.tensors, op.rules) if isinstance(rule, Rule)]
    return "yes" if len(having) == len(op.tensors) else ", ".join(having) or "no"


def _call(op: Op) -> str:
    """How it is called; a method says so."""
    parameters = [p.replace(name=op.keywords.get(p.name, p.name)) for p in op.signature.parameters.values()]
    args = str(op.signature.replace(parameters=parameters))[1:-1]
    first, _, rest = args.partition(", ")
    if op.namespace:
        return f"{op.namespace}.{op.public_name}({args})"
    return f"{first}.{op.name}({rest})" if op.method_only else f"{op.name}({args})"


def _row(op: Op) -> str:
    call = f"`{_call(op)}`" + "".join(f", `{a}`" for a in op.aliases)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (call, _kinds(op), _derivative(op), op.doc)) + " |"


def op_table() -> str:
    """The op table: a section a family, in the order of declaration."""
    families: dict[str, list[Op]] = {}
    for op in OPS.values():
        if op.public and op.name in clgrad.ops.ALL:
            families.setdefault(op.family, []).append(op)
    lines = [f"{sum(map(len, families.values()))} ops. A method and, where Python has one, an operator go with each."]
    for family, ops in families.items():
        lines += ["", f"**{family}**", "", "| op | dtypes | derivative | meaning |", "|---|---|---|---|"]
        lines += map(_row, ops)
    return "\n".join(lines)


def settings_table() -> str:
    """The settings: environment variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for s in SETTINGS:
        lines.append(f"| `{s.variable}` | {f'`{s.text}`' if s.text else ''} | {s.doc} |")
    return "\n".join(lines)


def between(text: str, mark: str, content: str) -> str:
    """``text`` with what stands between ``<!-- mark -->`` and ``<!-- /mark -->`` replaced."""
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = text.partition(opening)
    _, ended, after = rest.partition(closing)
    if not found or not ended:
        raise SystemExit(f"README.md: the markers {opening} and {closing} are missing")
    return f"{before}{opening}\n{content}\n{closing}{after}"


def renewed(text: str) -> str:
    """The README's text with both tables as the records have them now."""
    return between(between(text, "optable", op_table()), "settings", settings_table())


def main() -> int:
    """Write, or with --check compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the tables are stale")
    options = parser.parse_args()
    old = README.read_text(encoding="utf-8")
    new = renewed(old)
    if options.check:
        if new != old:
            print("README.md is stale: run python tools/optable.py", file=sys.stderr)
        return int(new != old)
    if new != old:
        README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
