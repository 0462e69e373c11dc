"""The examples, small: each runs as a user runs it, and what it says it does is asserted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import clgrad
from clgrad import custom
from clgrad.testing import assert_close, samples

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_an_example_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) < 100


# Own ops --------------------------------------------------------------------------------------------------------------


def test_custom_op_runs_and_checks_its_derivatives(device: clgrad.Device, capsys) -> None:
    point = example("custom_op").main(["--device", str(device)])
    expected = np.zeros((5, 5), np.float32)
    expected[[1, 2, 2, 3], [2, 1, 3, 2]], expected[2, 2] = 1, -4
    assert_close(point, expected, dtype=clgrad.float32)
    assert ("to the second order" in capsys.readouterr().out) == device.facts.fp64


def test_the_gate_is_its_reference_in_every_case(device: clgrad.Device) -> None:
    gate = example("custom_op").gate
    for sample in samples(gate.op, clgrad.float32):
        assert_close(gate(*map(clgrad.tensor, sample.inputs)), sample.expected, dtype=clgrad.float32)
    ints = gate(clgrad.tensor([1, 2]), 0, 1)
    assert_close(ints, [1.5, 2.0], dtype=clgrad.float32)


def test_a_stencil_reads_parts_of_arrays_and_takes_empty_ones(rng: np.random.Generator) -> None:
    module, x = example("custom_op"), rng.standard_normal((6, 4)).astype(np.float32)
    part = clgrad.tensor(x)[2:]
    padded = np.pad(x[2:], ((0, 0), (0, 2)))
    expected = -0.5 * padded[:, 2:] + 2 * padded[:, 1:-1] - 1.5 * padded[:, :-2]
    assert_close(module.Stencil.apply(part, module.SLOPE), expected, dtype=clgrad.float32)
    assert module.Stencil.apply(clgrad.zeros(0, 4), module.SLOPE).shape == (0, 4)


def test_own_ops_stay_outside_the_table() -> None:
    before = clgrad.exp
    mine = custom.elementwise("exp", "x", c="x + ONE", grad=[lambda g: g])
    assert_close(mine(clgrad.tensor([1.0])), [2.0])
    assert clgrad.exp is before
    assert_close(clgrad.exp(clgrad.tensor([0.0])), [1.0])
    assert custom.elementwise("exp", "x", c="x", grad=[custom.ZERO_GRAD])(clgrad.ones(2)).tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="without ref="):
        list(samples(mine.op, clgrad.float32))


@pytest.mark.parametrize(("args", "grad"), [("x, x", [None, None]), ("x, y=1", [None, None]), ("x, y", [None]),
                                            ("x", lambda g: g), ("x", [None]), ("x", [lambda g, z: g])])
def test_a_wrong_declaration_is_refused(args: str, grad) -> None:
    with pytest.raises(TypeError, match="wrong"):
        custom.elementwise("wrong", args, c="x", grad=grad)


def test_a_wrong_call_of_a_kernel_is_refused() -> None:
    kernel = custom.Kernel("k", "kernel void k(global float *out, long at) { out[at + get_global_id(0)] = ${v}; }", "w")
    x = clgrad.zeros(4)
    kernel((2,), (1,), x[1:3], v=7)
    kernel((1,), None, x, v="3")
    assert x.tolist() == [3.0, 7.0, 7.0, 0.0]
    with pytest.raises(TypeError, match="2 arguments"):
        kernel((4,), None, x, 1, v=1)
    with pytest.raises(TypeError, match="got a float"):
        kernel((4,), None, 1.0, v=1)
    with pytest.raises(clgrad.errors.ShapeError, match="contiguous"):
        kernel((2,), None, x[::2], v=1)
    with pytest.raises(TypeError, match="unhashable"):
        kernel((4,), None, x, v=[1])
    with pytest.raises(NameError):
        kernel((4,), None, x)
    with pytest.raises(clgrad.errors.BuildError, match="k: the driver"):
        kernel((4,), None, x, v="(")
    with pytest.raises(TypeError, match="signature 'q'"):
        custom.Kernel("k", "", "q")


def test_a_kernel_that_writes_what_a_graph_keeps_is_noticed() -> None:
    kernel = custom.Kernel("k", "kernel void k(global float *out, long at) { out[at + get_global_id(0)] = 5; }", "w")
    x = clgrad.ones(2, requires_grad=True)
    y = (x * x).sum()
    kernel((2,), None, x.detach())
    with pytest.raises(clgrad.errors.GraphError):
        y.backward()


# Images ---------------------------------------------------------------------------------------------------------------


def test_lenet_learns_the_digits(device: clgrad.Device) -> None:
    pytest.importorskip("sklearn")
    losses, accuracy = example("lenet").main(["--device", str(device), "--epochs", "2"])
    assert losses[1] < 0.6 * losses[0]
    assert accuracy > 0.7


def _write_idx(path: Path, data: np.ndarray) -> None:
    path.write_bytes(bytes([0, 0, 8, data.ndim]) + b"".join(n.to_bytes(4, "big") for n in data.shape) +
                     data.astype(np.uint8).tobytes())


def test_lenet_reads_files(tmp_path: Path, rng: np.random.Generator, capsys) -> None:
    """Two classes, told apart by which half of the image is bright."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 64), ("t10k", 16)):
        y = np.arange(count) % 2
        x = rng.integers(0, 100, (count, 28, 28))
        x[y == 1, :14] += 150
        _write_idx(raw / f"{name}-images-idx3-ubyte", x)
        _write_idx(raw / f"{name}-labels-idx1-ubyte", y)
    lenet = example("lenet")
    losses, accuracy = lenet.main(["--root", str(tmp_path), "--epochs", "6", "--batch-size", "16", "--lr", "0.005"])
    assert losses[-1] < losses[0]
    assert accuracy == 1.0
    with pytest.raises(SystemExit):
        lenet.main(["--download"])
    assert "--root" in capsys.readouterr().err


# Text -----------------------------------------------------------------------------------------------------------------

PHRASE = "gut ist nun; "


@pytest.fixture
def phrases(tmp_path: Path) -> Path:
    path = tmp_path / "phrases.txt"
    path.write_text(PHRASE * 12, encoding="utf-8")
    return path


def test_char_lstm_learns_a_phrase_by_heart(device: clgrad.Device, phrases: Path) -> None:
    module = example("char_lstm")
    arguments = ["--device", str(device), "--text", str(phrases), "--hidden", "24", "--layers", "1", "--length", "16",
                 "--batch-size", "8", "--steps", "80", "--lr", "0.03", "--sample", "26"]
    losses, written = module.main([*arguments, "--prompt", "gut", "--temperature", "0"])
    assert len(losses) == 80
    assert losses[0] == pytest.approx(np.log(len(set(PHRASE))), abs=0.5)
    assert losses[-1] < 0.3
    assert written == (PHRASE * 3)[:29]
    wild = module.main([*arguments[:-4], "--steps", "1", "--lr", "0.03", "--sample", "40", "--temperature", "50"])[1]
    assert wild.startswith("g")
    assert len(wild) == 41
    assert set(wild) <= set(PHRASE)
    assert len(set(wild)) > 4


@pytest.mark.parametrize("more", [["--prompt", "Z"], ["--length", "1000"]])
def test_char_lstm_says_what_a_text_needs(phrases: Path, more: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        example("char_lstm").main(["--text", str(phrases), *more])
    assert "--length" in capsys.readouterr().err


def test_gpt_learns_a_phrase_by_heart(device: clgrad.Device, phrases: Path) -> None:
    module = example("gpt")
    losses, written = module.main([
        "--device", str(device), "--text", str(phrases), "--width", "32", "--heads", "2", "--layers", "1", "--context",
        "26", "--batch-size", "8", "--steps", "80", "--lr", "0.02", "--sample", "30", "--temperature", "0.1"])
    assert losses[0] == pytest.approx(np.log(len(set(PHRASE))), abs=0.3)
    assert losses[-1] < 0.5
    assert written[:26] == PHRASE * 2
    assert len(written) == 31


def test_gpt_looks_back_only_and_ties_its_weights() -> None:
    clgrad.manual_seed(1)
    model = example("gpt").GPT(7, 6, 8, 2, 1)
    assert model.head.weight is model.token.weight
    assert len(list(model.parameters())) == 2 + 12 + 2
    x = clgrad.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 6, 6, 6]])
    with clgrad.no_grad():
        scores = model(x).numpy()
    np.testing.assert_allclose(scores[0, :3], scores[1, :3], rtol=1e-5, atol=1e-7)
    assert (scores[0, 3:] != scores[1, 3:]).any(-1).all()
    longer = model.write(x, 3, 1.0)
    assert longer.shape == (2, 9)
    assert longer[:, :6].tolist() == x.tolist()
    assert longer.dtype is clgrad.int64


# Fine-tuning ----------------------------------------------------------------------------------------------------------


def test_a_new_last_layer_learns_and_the_rest_stays_as_the_file_says(device: clgrad.Device, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    weights = tmp_path / "weights.pt"
    losses, accuracy, model = example("finetune_resnet").main([
        "--device", str(device), "--weights", str(weights), "--size", "32", "--count", "60", "--epochs", "6",
        "--batch-size", "16"])
    assert losses[-1] < 0.7 * losses[0]
    assert accuracy > 0.6
    given, now = clgrad.load(weights), model.state_dict()
    assert given.keys() == now.keys()
    assert now["fc.weight"].shape == (3, 512)
    assert given["fc.weight"].shape == (1000, 512)
    for name in ("conv1.weight", "bn1.running_mean", "layer4.1.bn2.weight", "layer4.1.bn2.running_var"):
        np.testing.assert_array_equal(now[name].numpy(), given[name].numpy(), err_msg=name)


def test_all_layers_learn_from_a_folder_of_images(device: clgrad.Device, tmp_path: Path, rng) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("safetensors")
    for label, name in enumerate(("cold", "warm")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(10):
            pixels = rng.integers(0, 100, (40, 48, 3), np.uint8)
            pixels[..., 2 - 2 * label] += 150
            image.fromarray(pixels).save(tmp_path / "images" / name / f"{n}.png")
    weights = tmp_path / "weights.safetensors"
    clgrad.manual_seed(3)
    clgrad.save(clgrad.vision.models.resnet18().state_dict(), weights)
    before = clgrad.load(weights)["conv1.weight"].numpy()
    losses, _, model = example("finetune_resnet").main([
        "--device", str(device), "--weights", str(weights), "--data", str(tmp_path / "images"), "--size", "32",
        "--epochs", "3", "--batch-size", "8", "--whole"])
    assert losses[-1] < losses[0]
    assert model.fc.weight.shape == (2, 512)
    assert (model.conv1.weight.detach().numpy() != before).any()
