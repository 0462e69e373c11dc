"""Finding the pip-installed driver: what is written where, and what is said when the installation is not whole."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from clgrad.core.config import config
from clgrad.runtime import drivers


class Wheel:
    """A distribution with these files."""

    def __init__(self, *files: Path) -> None:
        self.files = [Located(f) for f in files]


class Located:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def locate(self) -> Path:
        return self.path


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Pretends that a wheel with these files is installed, on a Linux whose user has chosen no vendors."""
    def put(*names: str) -> Path:
        files = [tmp_path / "lib" / name for name in names]
        for f in files:
            f.parent.mkdir(exist_ok=True)
            f.touch()
        monkeypatch.setattr(metadata, "distribution", lambda name: Wheel(*files))
        return tmp_path / "lib"

    for variable in drivers._CHOSEN_BY_USER:
        monkeypatch.setenv(variable, "")  # so that what a test sets is undone
        monkeypatch.delenv(variable)
    monkeypatch.setattr(sys, "platform", "linux")
    drivers.prepare.cache_clear()
    with config.override(cache_dir=tmp_path / "cache"):
        yield put
    drivers.prepare.cache_clear()


def test_the_loader_is_pointed_at_the_wheel(install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = tmp_path / "system"
    system.mkdir()
    (system / "other.icd").write_text("libother.so\n")
    monkeypatch.setattr(drivers, "_SYSTEM_VENDORS", system)
    library = install("libintelocl.so", "libsvml.so") / "libintelocl.so"
    assert drivers.prepare() is None
    folder = Path(os.environ["OCL_ICD_VENDORS"])
    assert folder.parent == tmp_path / "cache" / "vendors"
    assert {f.name: f.read_text() for f in folder.iterdir()} == {
        "clgrad-intel-pip.icd": f"{library}\n", "other.icd": "libother.so\n"}
    (system / "other.icd").write_text("libnewer.so\n")
    drivers.prepare.cache_clear()
    del os.environ["OCL_ICD_VENDORS"]
    drivers.prepare()
    assert Path(os.environ["OCL_ICD_VENDORS"]) != folder, "the folder is named by its contents"


@pytest.mark.parametrize("variable", drivers._CHOSEN_BY_USER)
def test_the_users_choice_stands(install, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    install("libintelocl.so", "libsvml.so")
    monkeypatch.setenv(variable, "chosen")
    assert drivers.prepare() is None
    assert os.environ[variable] == "chosen"
    assert sum(v in os.environ for v in drivers._CHOSEN_BY_USER) == 1


def test_a_wheel_without_its_other_half(install) -> None:
    install("libintelocl.so")
    assert drivers.prepare() == "intel-opencl-rt lacks its compiler libraries: pip install intel-cmplr-lib-rt"
    assert "OCL_ICD_VENDORS" not in os.environ


def test_a_wheel_without_its_library(install) -> None:
    install("readme.txt")
    assert drivers.prepare() == "intel-opencl-rt is installed without libintelocl.so: reinstall it"


def test_no_wheel(install, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert drivers.pip_driver() == (None, None)
    assert drivers.prepare() is None


def test_a_cache_that_cannot_be_written(install, tmp_path: Path) -> None:
    install("libintelocl.so", "libsvml.so")
    (tmp_path / "file").touch()
    with config.override(cache_dir=tmp_path / "file"):
        assert drivers.prepare().startswith("the cache folder cannot be written (")
