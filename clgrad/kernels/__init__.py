"""The kernel templates: a loader, no more. Each ``.mako`` file holds one family's parameters, defaults and text."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(1)
def _lookup() -> Any:
    from mako.lookup import TemplateLookup

    return TemplateLookup(directories=[str(Path(__file__).parent)], strict_undefined=True)


@lru_cache(None)
def template(name: str) -> Any:
    """The Mako template of a family; ``template(name).module`` carries PARAMS, DEFAULT and valid()."""
    return _lookup().get_template(f"{name}.mako")


def render(name: str, **values: Any) -> str:
    """OpenCL C of a family for the given template values; an undefined name raises."""
    return template(name).render(**values)


@lru_cache(256)
def _template_of(text: str) -> Any:
    from mako.template import Template

    return Template(text, lookup=_lookup(), strict_undefined=True)


def render_text(text: str, **values: Any) -> str:
    """OpenCL C of a template that is not one of the files; ``prelude`` is the module of theirs."""
    return _template_of(text).render(prelude=template("prelude").module, **values)
