"""Event files: what is written is what TensorBoard reads back."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clgrad
from clgrad import nn
from clgrad.utils.tensorboard import SummaryWriter

pytest.importorskip("tensorboardX")


def _events(folder: Path) -> list[Any]:
    """Every event below a folder, by tensorboardX's own messages: records of length, checksum, bytes, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.rglob("events.out.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at:at + 8], "little")
            found.append(Event.FromString(data[at + 12:at + 12 + length]))
            at += length + 16
    return found


def _values(folder: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for event in _events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value))
    return found


def test_numbers_texts_and_histograms(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for step in range(3):
            writer.add_scalar("loss", clgrad.tensor(0.5 * step, requires_grad=True), step)
        writer.add_scalar("half", clgrad.tensor([1.5], dtype=clgrad.float16))
        writer.add_scalar("plain", 3, 7)
        writer.add_scalars("pair", {"a": 1, "b": clgrad.tensor(2)}, 4)
        writer.add_histogram("weights", clgrad.arange(10).data, 1)
        writer.add_text("note", "hello **world**", 2)
        assert writer.log_dir == writer.get_logdir() == str(tmp_path)
    values = _values(tmp_path)
    assert [(s, v.simple_value) for s, v in values["loss"]] == [(0, 0), (1, 0.5), (2, 1)]
    assert [(s, v.simple_value) for s, v in values["plain"]] == [(7, 3)]
    assert values["half"][0][1].simple_value == 1.5
    assert sorted(v.simple_value for name in values if "pair" in name for _, v in values[name]) == [1, 2]
    histogram = values["weights"][0][1].histo
    assert (histogram.num, histogram.min, histogram.max, histogram.sum) == (10, 0, 9, 45)
    assert values["note/text_summary"][0][1].tensor.string_val[0] == b"hello **world**"


def test_images(tmp_path: Path, rng) -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    x = rng.integers(0, 256, (3, 4, 6)).astype(np.uint8)
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("bytes", clgrad.tensor(x))
        writer.add_image("floats", clgrad.tensor(x.astype(np.float32) / 255), 2)
        writer.add_image("rows", x.transpose(1, 2, 0), dataformats="HWC")
        writer.add_images("several", clgrad.tensor(np.stack([x, x])))
    values = _values(tmp_path)
    for name in ("bytes", "floats", "rows"):
        found = np.asarray(image.open(io.BytesIO(values[name][0][1].image.encoded_image_string))).astype(int)
        assert np.abs(found - x.transpose(1, 2, 0)).max() <= (1 if name == "floats" else 0)
    assert values["several"][0][1].image.width == 12


def test_hyper_parameters(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.add_hparams({"rate": 0.1, "name": "x", "deep": True, "size": clgrad.tensor(3)},
                           {"accuracy": clgrad.tensor(0.75)})
    values = _values(tmp_path)
    assert values["accuracy"][0][1].simple_value == 0.75
    assert {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"} <= values.keys()


class Net(nn.Module):
    """Two layers, the first used twice, and a sum with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.head = nn.Linear(3, 2)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.head(self.body(self.body(x)) + x) * scale


def test_a_graph_names_modules_and_ops(tmp_path: Path, capsys) -> None:
    from tensorboardX.proto.graph_pb2 import GraphDef

    call = nn.Module.__call__
    with SummaryWriter(tmp_path) as writer:
        writer.add_graph(Net(), (clgrad.ones(5, 3), 2.0), verbose=True)
    assert nn.Module.__call__ is call
    (event,) = [e for e in _events(tmp_path) if e.HasField("graph_def")]
    graph = {n.name: n for n in GraphDef.FromString(event.graph_def).node}
    assert len(capsys.readouterr().out.splitlines()) == len(graph)
    assert {"input_0", "Net/body/0/weight", "Net/body/0/bias", "Net/head/weight", "output_0"} <= graph.keys()
    by_scope = [n.rpartition("/")[0] for n in graph if "[" in n]
    assert sorted(by_scope) == ["Net/body/0[Linear]"] * 2 + ["Net/body/1[ReLU]"] * 2 + ["Net/head[Linear]"]
    own = [n for n in graph if n.count("/") == 1 and n.startswith("Net/")]
    assert len(own) == 2  # the sum and the product
    for node in graph.values():
        assert all(source in graph for source in node.input), node.name
    (head,) = [n for n in graph.values() if n.name.startswith("Net/head[Linear]")]
    assert set(head.input) >= {"Net/head/weight", "Net/head/bias"}
    assert [d.size for d in head.attr["_output_shapes"].list.shape[0].dim] == [5, 2]
    assert [d.size for d in graph["Net/head/weight"].attr["_output_shapes"].list.shape[0].dim] == [2, 3]


def test_tensorboard_itself_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss", clgrad.tensor(0.25), 3)
        writer.add_histogram("h", np.arange(4.0), 1)
        writer.add_graph(nn.Linear(2, 1), clgrad.ones(1, 2))
    found = accumulator.EventAccumulator(str(tmp_path))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(3, 0.25)]
    assert found.Histograms("h")[0].histogram_value.num == 4
    assert {"Linear/weight", "input_0"} <= {n.name for n in found.Graph().node}


def test_tags_stay_as_given(tmp_path: Path) -> None:
    """As PyTorch writes them; tensorboardX alone would write "training_loss"."""
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("training loss", 1.0, 0, walltime=5.0)
        writer.add_histogram("weights (first layer)", clgrad.ones(3), 2, bins="auto")
        writer.add_image("an image", np.zeros((3, 2, 2), np.uint8), 3)
        writer.add_images("two images", np.zeros((2, 3, 2, 2), np.uint8), 4)
    found = {tag: step for tag, ((step, _),) in _values(tmp_path).items()}
    assert found == {"training loss": 0, "weights (first layer)": 2, "an image": 3, "two images": 4}
    (event,) = [e for e in _events(tmp_path) if e.summary.value and e.summary.value[0].tag == "training loss"]
    assert event.wall_time == 5.0


def test_errors_of_writing(tmp_path: Path, monkeypatch) -> None:
    writer = SummaryWriter(tmp_path)
    for call, message in (
            (lambda: writer.add_scalar("x", clgrad.ones(2)), "add_scalar: got a value of shape (2,) and dtype float32"),
            (lambda: writer.add_scalar("x", "text"), "add_scalar: got a value of shape ()"),
            (lambda: writer.add_histogram("x", []), "add_histogram: got an empty array for 'x'"),
            (lambda: writer.add_graph(nn.Linear(1, 1)), "add_graph: got no input")):
        with pytest.raises(ValueError, match="add_") as caught:
            call()
        assert str(caught.value).startswith(message)
    writer.flush()
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match=r"SummaryWriter: got a call after close\(\)"):
        writer.add_scalar("x", 1)
    assert not [t for t in threading.enumerate() if "EventLogger" in type(t).__name__]
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "clgrad\[tensorboard\]"'):
        SummaryWriter(tmp_path)
