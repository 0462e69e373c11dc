"""The house: rooms import upwards only, import is free, core dependencies are enough, the README is current."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import clgrad

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(clgrad.__file__).parent
# Top to bottom: a module imports from its own room and those above it.
ROOMS = (
    "core", "kernels", "runtime", "ndarray", "families", "table", "autograd", "ops",
    "factories", "random", "linalg", "special", "fft", "windows", "legacy", "cuda", "custom", "interop", "array",
    "testing", "nn", "surface", "optim", "io", "utils", "vision", "jit", "tuning", "__init__", "__main__",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run, those inside functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not _is_type_checking(node):
            yield from _imports(node)


def _targets(path: Path, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names of what is imported, absolute."""
    if isinstance(node, ast.Import):
        return [a.name for a in node.names]
    if node.level == 0:
        base = node.module
    else:
        package = ["clgrad", *path.relative_to(PACKAGE).parts[:-1]]
        base = ".".join(package[:len(package) - node.level + 1] + ([node.module] if node.module else []))
    return [f"{base}.{a.name}" for a in node.names]


def _clgrad_room(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "clgrad":
        return None
    exists = len(parts) > 1 and ((PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").exists())
    return parts[1] if exists else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_upwards(path: Path) -> None:
    room = _room(path)
    assert room in ROOMS, f"{room} has no place in the order of rooms"
    for node in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        for name in _targets(path, node):
            other = _clgrad_room(name)
            if other is not None:
                assert ROOMS.index(other) <= ROOMS.index(room), f"{path.name}:{node.lineno} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_runtime_imports_pyopencl(path: Path) -> None:
    for node in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        if any(name.split(".")[0] == "pyopencl" for name in _targets(path, node)):
            assert _room(path) == "runtime", f"{path.name}:{node.lineno}"


def test_import_is_free(child, no_driver, tmp_path: Path) -> None:
    """No pyopencl, no device, no file written."""
    cache = tmp_path / "cache"
    child("""
        import sys
        import clgrad
        from clgrad.runtime.device import opened_devices
        assert "pyopencl" not in sys.modules
        assert "mako" not in sys.modules
        assert opened_devices() == []
    """, CLGRAD_CACHE_DIR=str(cache), **no_driver)
    assert not cache.exists()


def test_core_dependencies_are_enough(child, no_driver) -> None:
    """Every module imports with NumPy, pyopencl, Mako and what these bring, and nothing else."""
    child("""
        import importlib, pkgutil, sys
        ALLOWED = {"clgrad", "numpy", "pyopencl", "mako", "markupsafe", "pytools", "siphash24", "platformdirs",
                   "typing_extensions"} | set(sys.stdlib_module_names)

        class Wall:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] not in ALLOWED:
                    raise ModuleNotFoundError(f"No module named {name!r} (kept out by the test)", name=name)

        sys.meta_path.insert(0, Wall())
        import clgrad
        for module in pkgutil.walk_packages(clgrad.__path__, "clgrad."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    """, **no_driver)


@pytest.mark.parametrize(("platform", "part"), [("linux", "apt install pocl-opencl-icd"), ("darwin", "conda-forge"),
                                                ("win32", "graphics driver")])
def test_without_a_driver_the_error_says_what_to_install(child, no_driver, platform: str, part: str) -> None:
    done = child(f"""
        import sys
        import clgrad, pyopencl
        sys.platform = {platform!r}
        assert clgrad.devices() == []
        for use in (lambda: clgrad.ones(3), lambda: clgrad.device(), lambda: clgrad.device("gpu")):
            try:
                use()
            except clgrad.errors.DeviceError as error:
                print(type(error).__name__, error)
            else:
                raise SystemExit("no error")
    """, **no_driver)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NoDeviceError"] * 3
    assert all(part in line for line in lines)
    assert "Found: none" in lines[2]


def test_command_line_without_a_driver(child, no_driver) -> None:
    done = child(["-m", "clgrad"], status=1, **no_driver)
    assert "no usable OpenCL device" in done.stdout
    assert "cache: " in done.stdout


def test_readme_tables_are_current(child, no_driver) -> None:
    child(["tools/optable.py", "--check"], **no_driver)


def _own_files() -> Iterator[Path]:
    for folder in ("clgrad", "tests", "tools", "examples", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in ("", ".py", ".mako", ".md", ".sh", ".toml", ".yaml"):
                yield path
    yield from (ROOT / name for name in ("README.md", "pyproject.toml", ".pre-commit-config.yaml"))


def test_no_path_of_anyones_machine() -> None:
    pattern = re.compile(r"(?<![\w.$}])/(?:root|home|work|Users|mnt|scratch)/\w")
    found = [f"{path.relative_to(ROOT)}:{number}" for path in _own_files()
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_every_public_module_says_what_it_is() -> None:
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
