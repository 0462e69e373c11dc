"""Devices, verdicts, memory, copies: what the runtime promises and what it says when it cannot."""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import clgrad
from clgrad.core import dtypes
from clgrad.core.config import config
from clgrad.core.errors import DeviceError, NoDeviceError, OutOfMemoryError
from clgrad.ndarray import from_host
from clgrad.runtime import device as devices_module
from clgrad.runtime import doctor, drivers, pages
from clgrad.runtime.device import Device, Verdict, verdict_path


@pytest.fixture
def twin(device: Device, tmp_path: Path):
    """Makes fresh Devices of the same OpenCL device, over an empty cache folder."""
    with config.override(cache_dir=tmp_path):
        yield lambda key="twin:0", index=0: Device(device._cl, key, index)


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Undoes what a test does to the default device and to the list of devices."""
    monkeypatch.setattr(devices_module, "_chosen", devices_module._chosen)
    monkeypatch.setattr(devices_module, "_found", devices_module._found)
    return monkeypatch


# Finding and choosing --------------------------------------------------------------------------------------------


def test_devices_are_listed_gpus_first() -> None:
    found = clgrad.devices()
    assert [d.index for d in found] == list(range(len(found)))
    assert len({d.key for d in found}) == len(found)
    ranks = [("gpu", "accelerator", "cpu").index(d.type) for d in found]
    assert ranks == sorted(ranks)
    assert clgrad.devices() == found
    found.clear()
    assert clgrad.devices(), "the caller's list is the caller's own"


def test_facts(device: Device) -> None:
    facts = device.facts
    assert facts.compute_units >= 1
    assert facts.max_work_group_size >= 1
    assert 0 < facts.max_alloc <= facts.global_mem
    assert device.name
    assert device.driver_version
    assert len(device.fingerprint) == 20


def test_every_spelling(device: Device) -> None:
    for spec in (device, device.key, device.key.upper(), device.index, str(device.index), f" {device.key} "):
        assert clgrad.device(spec) is device
    assert clgrad.device(device.type).type == device.type
    part = device.name.split()[-1].lower()
    assert part in clgrad.device(part).name.lower()
    assert clgrad.device(None) is clgrad.device() is clgrad.default_device()
    assert str(device) == device.key
    assert repr(device) == f"<clgrad device {device.key}: {device.name}>"
    assert pickle.loads(pickle.dumps(device)) is device


@pytest.mark.parametrize("spec", ["warp drive", 999, -1, "999", "", True, 1.5])
def test_what_is_no_device_names_those_found(device: Device, spec: object) -> None:
    with pytest.raises(DeviceError, match=r"device: got .*; expected gpu, cpu, an index, or part of a name") as e:
        clgrad.device(spec)
    assert repr(spec) in str(e.value)
    assert f"{device} ({device.name})" in str(e.value)


def test_set_default_device(choice: pytest.MonkeyPatch, twin) -> None:
    other = twin()
    clgrad.set_default_device(other)
    assert clgrad.default_device() is other
    seen: list[Device] = []
    thread = threading.Thread(target=lambda: seen.append(clgrad.default_device()))
    thread.start()
    thread.join()
    assert seen == [other], "the default holds for every thread"
    clgrad.set_default_device(None)
    assert clgrad.default_device() in clgrad.devices()
    with pytest.raises(DeviceError, match="device: got 'nowhere'"):
        clgrad.set_default_device("nowhere")


def test_with_blocks_nest_and_belong_to_a_thread(device: Device, twin) -> None:
    inner = twin()
    seen: list[Device] = []
    with device:
        with inner as entered:
            assert entered is inner
            assert clgrad.default_device() is inner
            assert clgrad.zeros(2).device is inner
            thread = threading.Thread(target=lambda: seen.append(clgrad.default_device()))
            thread.start()
            thread.join()
        assert clgrad.default_device() is device
    with pytest.raises(KeyError), inner:
        raise KeyError
    assert clgrad.default_device() is not inner
    assert seen != [inner]


def test_arrays_on_two_devices_do_not_mix(device: Device, twin) -> None:
    a, b = clgrad.ones(2), clgrad.ones(2, device=twin())
    with pytest.raises(DeviceError, match=r"add: got .* and twin:0; expected arrays on one device\. Move one"):
        a + b


def test_clgrad_device_chooses(child, device: Device) -> None:
    for text in (device.key, device.type):
        done = child("import clgrad; print(clgrad.default_device().type, clgrad.default_device())", CLGRAD_DEVICE=text)
        assert done.stdout.split()[0] == device.type
    done = child("import clgrad; clgrad.ones(2)", status=1, CLGRAD_DEVICE="nowhere")
    assert "DeviceError: device: got 'nowhere'" in done.stderr


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no batch policy")
def test_a_drivers_threads_do_not_preempt_the_one_that_launches(child) -> None:
    """Workers that are woken at each launch are batch work; the caller's own policy stays."""
    result = child("import os, clgrad; before = set(os.listdir('/proc/self/task')); clgrad.default_device().queue; "
                   "new = set(os.listdir('/proc/self/task')) - before; "
                   "print(len(new), {os.sched_getscheduler(int(t)) for t in new} <= {os.SCHED_BATCH}, "
                   "os.sched_getscheduler(0) == os.SCHED_OTHER)")
    count, batch, unchanged = result.stdout.split()
    assert unchanged == "True"
    if count == "0":
        pytest.skip("this driver starts no threads")
    assert batch == "True"


# Verdicts ----------------------------------------------------------------------------------------------------------


def test_a_verdict_is_remembered_and_refreshed(twin, monkeypatch: pytest.MonkeyPatch) -> None:
    first = twin()
    assert first.verdict() == Verdict(True)
    path = verdict_path(first.fingerprint)
    assert json.loads(path.read_text()) == {"ok": True, "reason": ""}
    probes: list[Device] = []

    def probe(d: Device) -> Verdict:
        probes.append(d)
        return Verdict(False, "made up")

    monkeypatch.setattr(devices_module, "_run_probe", probe)
    second = twin()
    assert second.verdict().ok
    assert probes == []
    assert second.verdict(refresh=True) == Verdict(False, "made up")
    assert probes == [second]
    assert twin().verdict() == Verdict(False, "made up")


@pytest.mark.parametrize("content", ["", "{", "{}", '{"ok": 1', '{"probing": "x"}', "[]", "\0"])
def test_a_damaged_verdict_file_is_written_anew(twin, content: str) -> None:
    d = twin()
    path = verdict_path(d.fingerprint)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert d.verdict().ok
    assert json.loads(path.read_text())["ok"] is True


def _dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.skipif(os.name == "nt", reason="there a marker is always probed again")
def test_a_process_that_died_probing_leaves_a_verdict(twin) -> None:
    d = twin()
    path = verdict_path(d.fingerprint)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"probing": _dead_pid()}))
    assert not d.verdict().ok
    assert "the process died while this driver was probed" in d.verdict().reason
    assert d.verdict(refresh=True).ok
    path.write_text(json.dumps({"probing": os.getppid()}))
    assert twin().verdict().ok, "someone else is still probing: no verdict yet, so it is probed"


def test_an_interrupted_probe_is_no_verdict(twin, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(d: Device) -> Verdict:
        raise KeyboardInterrupt

    d = twin()
    with monkeypatch.context() as patch:
        patch.setattr(devices_module, "_run_probe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            d.verdict()
    assert "probing" not in verdict_path(d.fingerprint).read_text()
    assert d.verdict().ok


def test_a_broken_device_is_passed_over_and_refused_by_name(choice: pytest.MonkeyPatch, device: Device, twin) -> None:
    broken = twin("broken:0", 0)
    broken._verdict = Verdict(False, "unknown target CPU")
    choice.setattr(devices_module, "_found", (broken, device))
    choice.setattr(devices_module, "_chosen", None)
    with config.override(device=None):
        assert clgrad.default_device() is device
    with pytest.raises(DeviceError, match=r"got 'broken:0', which is broken:0 \(.*\), whose driver is broken: unknown "
                                          r"target CPU\. Choose another device"):
        clgrad.device("broken:0")
    assert broken in clgrad.devices(), "it is listed all the same"
    choice.setattr(devices_module, "_found", (broken,))
    choice.setattr(devices_module, "_chosen", None)
    with config.override(device=None), pytest.raises(NoDeviceError, match="is broken: unknown target CPU"):
        clgrad.ones(2)


def test_a_remembered_verdict_quarantines_in_the_next_process(child, device: Device, tmp_path: Path) -> None:
    with config.override(cache_dir=tmp_path):
        for d in clgrad.devices():
            devices_module.write_json(verdict_path(d.fingerprint), {"ok": False, "reason": "crashed last week"})
    done = child("import clgrad; clgrad.ones(2)", status=1, CLGRAD_CACHE_DIR=str(tmp_path), CLGRAD_DEVICE=None)
    assert "NoDeviceError: no usable OpenCL device" in done.stderr
    assert f"{device} ({device.name}) is broken: crashed last week" in done.stderr
    done = child("import clgrad; clgrad.ones(2)", status=1, CLGRAD_CACHE_DIR=str(tmp_path), CLGRAD_DEVICE=device.key)
    assert "whose driver is broken: crashed last week" in done.stderr


def test_no_driver_at_all(child, no_driver) -> None:
    done = child("import clgrad; clgrad.ones(2)", status=1, **no_driver)
    assert f"NoDeviceError: no usable OpenCL device. {drivers.install_help()}" in done.stderr
    done = child("import clgrad; clgrad.ones(2)", status=1, **no_driver | {"CLGRAD_DEVICE": "gpu"})
    assert "NoDeviceError: device: got 'gpu'; expected " in done.stderr
    assert f"Found: none. {drivers.install_help()}" in done.stderr


# The command line --------------------------------------------------------------------------------------------------


def test_command_line(child, device: Device) -> None:
    for arguments in ([], ["devices"], ["doctor"]):
        done = child(["-m", "clgrad", *arguments], status=None)
        assert f"{device.key} " in done.stdout
        assert device.name in done.stdout
        assert "works: a trivial kernel gave the right numbers" in done.stdout
        assert "default (*): " in done.stdout
        assert f"cache: {config.cache_dir}" in done.stdout
    child(["tools/devices.py", "--help"])
    assert "unrecognized arguments: --nonsense" in child(["-m", "clgrad", "--nonsense"], status=2).stderr


def test_doctor_blames_a_driver_that_hangs_or_crashes(monkeypatch: pytest.MonkeyPatch, twin) -> None:
    found, complaints = doctor.examine(seconds=0.01)
    assert found == []
    assert complaints[0] == "listing the drivers failed: no answer within 0.01 s"
    ask = doctor._ask

    def crash(question: str, seconds: float, **environment: str):
        return ask(question, seconds) if question == "list" else (None, "the process ended with status -11")

    monkeypatch.setattr(doctor, "_ask", crash)
    found, complaints = doctor.examine()
    assert complaints == []
    assert found
    assert all(f.verdict == Verdict(False, "the process ended with status -11") for f in found)
    assert not twin().verdict().ok, "the next process knows"


@pytest.mark.parametrize(("nbytes", "text"), [(0, "0 B"), (1023, "1.02e+03 B"), (2048, "2 KiB"), (5 << 20, "5 MiB"),
                                              (3 << 30, "3.0 GiB")])
def test_sizes_for_people(nbytes: int, text: str) -> None:
    assert doctor.size(nbytes) == text


# Memory ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(device: Device):
    gc.collect()
    clgrad.empty_cache()
    return device.pool


def test_counters_of_the_pool(pool, device: Device) -> None:
    before = clgrad.memory_stats()
    x = clgrad.zeros(1 << 20)
    during = device.memory_stats()
    assert during["active"] - before["active"] >= x.nbytes
    assert during["allocations"] == before["allocations"] + 1
    assert during["peak"] >= during["active"]
    del x
    after = device.memory_stats()
    assert after["active"] == before["active"]
    assert after["held"] >= before["held"] + 4 * (1 << 20), "a freed block is kept for reuse"
    clgrad.empty_cache()
    assert device.memory_stats()["held"] < 1 << 20, "only what living blocks are rounded up by"
    assert f"Pool({device}, active=" in repr(pool)


def test_a_freed_block_is_used_again(pool) -> None:
    x = clgrad.zeros(1000, 1000)
    del x
    held = pool.stats()["held"]
    y = clgrad.zeros(1000, 1000)
    assert pool.stats()["held"] < held
    assert y.sum().item() == 0


def test_large_new_blocks_are_asked_huge_pages_for(pool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    take = pages.advise_block
    monkeypatch.setattr(pages, "advise_block", lambda queue, buffer, n: asked.append(n) or take(queue, buffer, n))
    monkeypatch.setattr(pool, "_asks", pages.LEAST)
    pool.empty()
    small = clgrad.empty(1024)
    large = clgrad.full((pages.LEAST // 4 + 3,), 2.5)
    np.testing.assert_array_equal(large.numpy(), np.full(pages.LEAST // 4 + 3, 2.5, np.float32))
    assert asked == [pages.LEAST + 12]
    del large
    again = clgrad.empty(pages.LEAST // 4 + 3)  # a block of the pool is not new
    assert len(asked) == 1
    del small, again


def test_advice_where_there_is_nothing_to_ask() -> None:
    memory = mmap.mmap(-1, 1 << 23)
    memory[:] = bytes(range(256)) * (1 << 15)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert not pages.advise(start + 1, 4096)  # no huge page lies inside
    assert pages.advise(start, 1 << 23) is (pages._advise() is not None)
    assert memory[:] == bytes(range(256)) * (1 << 15)


def test_zero_size_arrays_allocate_nothing(pool) -> None:
    before = pool.stats()["allocations"]
    x = clgrad.zeros(0, 5)
    y = (x + 1).reshape(5, 0).t()
    assert y.shape == (0, 5)
    assert x.numpy().shape == (0, 5)
    assert x.tolist() == []
    assert clgrad.tensor([]).shape == (0,)
    assert pool.stats()["allocations"] == before


def test_one_allocation_above_the_limit_of_the_device(pool, device: Device) -> None:
    asked = device.facts.max_alloc + 4
    with pytest.raises(OutOfMemoryError, match=f"out of memory on {device}: asked {asked:,} bytes, active .*, held .*, "
                                               f"limit .*; one array may have {device.facts.max_alloc:,} bytes"):
        pool.allocate(asked)
    assert clgrad.ones(3).sum().item() == 3


def test_memory_limit(pool, device: Device) -> None:
    megabyte = 1 << 20
    with config.override(memory_limit=pool.stats()["active"] + 8 * megabyte):
        kept = [clgrad.zeros(megabyte // 4) for _ in range(6)]
        with pytest.raises(MemoryError, match=rf"asked {4 * megabyte:,} bytes, .*; CLGRAD_MEMORY_LIMIT is [\d,]+ "
                                              r"bytes\. Use smaller batches"):
            clgrad.zeros(megabyte)
        assert (clgrad.ones(8) * 2).sum().item() == 16, "the device is usable after"
        cycle: list = [kept.pop(), kept.pop(), kept.pop()]
        cycle.append(cycle)
        del cycle
        assert clgrad.zeros(megabyte).size() == (megabyte,), "garbage is collected before memory is refused"
        del kept


def test_a_full_driver_is_asked_twice(pool, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A pool of a driver that refuses ``times`` times."""

        def __init__(self, times: int) -> None:
            self.times = times
            self.freed = 0

        active_bytes = managed_bytes = 0

        def allocate(self, size: int) -> str:
            self.times -= 1
            if self.times >= 0:
                raise MemoryError
            return "a buffer"

        def free_held(self) -> None:
            self.freed += 1

    monkeypatch.setattr(pool, "_errors", (MemoryError,))
    full = Full(1)
    monkeypatch.setattr(pool, "_pool", full)
    assert pool.allocate(100) == "a buffer"
    assert full.freed == 1
    monkeypatch.setattr(pool, "_pool", Full(2))
    with pytest.raises(OutOfMemoryError, match=r"asked 100 bytes, active 0, held 0, limit .*; the driver said: "):
        pool.allocate(100)


# Copies ------------------------------------------------------------------------------------------------------------


def test_copies_are_counted(device: Device) -> None:
    device.copies.reset()
    x = clgrad.tensor(np.ones((10, 10), np.float32))
    assert (device.copies.to_device, device.copies.bytes_to_device) == (1, 400)
    y = (x * 2 + clgrad.zeros(10)).sum()
    assert (device.copies.to_device, device.copies.to_host) == (1, 0), "ops and factories of one value copy nothing"
    assert y.item() == 200
    assert (device.copies.to_host, device.copies.bytes_to_host) == (1, 4)
    assert repr(device.copies) == "Copies(to_device=1, to_host=1, bytes_to_device=400, bytes_to_host=4)"


def test_a_training_step_copies_nothing(device: Device, rng: np.random.Generator) -> None:
    x, w = (clgrad.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((8, 4), (4,)))
    w.requires_grad_()
    device.copies.reset()
    for _ in range(2):
        loss = ((x * w).sum(1) ** 2).mean()
        loss.backward()
        with clgrad.no_grad():
            w -= 0.1 * w.grad
        w.grad = None
    assert (device.copies.to_device, device.copies.to_host) == (0, 0)


@pytest.mark.parametrize("d", dtypes.ALL, ids=lambda d: d.name)
def test_fill_and_the_two_doors(device: Device, d: dtypes.DType) -> None:
    if d.real is dtypes.float64 and not device.facts.fp64:
        with pytest.raises(clgrad.errors.DTypeError, match="has no double precision"):
            clgrad.full((2,), 1.0, dtype=d)
        return
    values = {"b": [True, False], "i": [-5, 7], "u": [0, 200], "f": [-2.5, float("inf")], "c": [-2.5 + 1j, 3.0]}[d.kind]
    for value in values:
        filled = clgrad.full((3, 5), value, dtype=d)
        assert filled.dtype is d
        np.testing.assert_array_equal(filled.numpy(), np.full((3, 5), value, d.np))
        for nbytes in (1 << 20, 1 << 24):  # by a kernel, perhaps; neither a whole number of vectors
            n = nbytes // d.itemsize + 5
            np.testing.assert_array_equal(clgrad.full((n,), value, dtype=d).numpy(), np.full(n, value, d.np))
    host = np.array(values * 9, d.np)
    back = from_host(host).numpy()
    assert back.dtype == host.dtype
    np.testing.assert_array_equal(back, host)


def test_a_host_array_may_be_changed_after_the_copy(rng: np.random.Generator) -> None:
    host = rng.standard_normal(1 << 20).astype(np.float32)
    kept = host.copy()
    x = clgrad.tensor(host)
    host[:] = 0
    np.testing.assert_array_equal(x.numpy(), kept)
    out = x.numpy()
    out[:] = 1
    np.testing.assert_array_equal(x.numpy(), kept)


def test_numpy_is_never_reached_silently() -> None:
    x = clgrad.ones(3)
    with pytest.raises(TypeError, match=r"copies to the host are explicit\. Call \.numpy\(\) on it"):
        np.asarray(x)
    with pytest.raises(TypeError):
        np.add(x, 1)
