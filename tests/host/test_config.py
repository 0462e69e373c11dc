"""The settings: parsing, defaults, messages, overriding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import clgrad
from clgrad.core.config import SETTINGS, Config, config

PACKAGE = Path(clgrad.__file__).parent


def test_defaults() -> None:
    empty = Config({})
    for setting in SETTINGS:
        if setting.name != "cache_dir":
            assert getattr(empty, setting.name) == setting.default
    assert empty.cache_dir.name == "clgrad"


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("YES", True), ("0", False), ("", False),
                                             ("no", False), (" off ", False)])
def test_flags(text: str, value: bool) -> None:
    assert Config({"CLGRAD_SYNC": text}).sync is value


@pytest.mark.parametrize(("text", "value"), [("1000", 1000), ("2K", 2048), ("1.5m", 3 << 19), ("2G", 2 << 30),
                                             ("512MB", 512 << 20), ("512MiB", 512 << 20)])
def test_sizes(text: str, value: int) -> None:
    assert Config({"CLGRAD_MEMORY_LIMIT": text}).memory_limit == value


@pytest.mark.parametrize(("variable", "text"), [("CLGRAD_DEBUG", "loud"), ("CLGRAD_FORM", "round"),
                                                ("CLGRAD_MEMORY_LIMIT", "lots")])
def test_what_cannot_be_read_is_named(variable: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}='{text}' cannot be read: .*; it means: "):
        Config({variable: text})


def test_override_is_undone_even_by_an_error() -> None:
    before = config.debug
    with pytest.raises(KeyError) as error, config.override(debug=7):
        raise KeyError(config.debug)
    assert error.value.args == (7,)
    assert config.debug == before
    with pytest.raises(TypeError, match="no such setting: colour"), config.override(colour=1):
        pass


def test_every_setting_is_explained() -> None:
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
    assert all(s.doc and s.variable == "CLGRAD_" + s.name.upper() for s in SETTINGS)


def test_one_reader_of_the_environment() -> None:
    """CLGRAD_* variables are read in core/config.py and nowhere else."""
    for path in PACKAGE.rglob("*.py"):
        if path.name == "config.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.getenv", "os.environ.get"):
                name = ast.unparse(node.args[0])
                assert "CLGRAD_" not in name, f"{path}:{node.lineno}: {name}"
