"""SummaryWriter: what TensorBoard shows, written by tensorboardX, which is imported when a writer is made.

Arrays come from any device; each is copied to the host when it is added.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd.variable import Variable
from ..core.errors import bad, missing
from ..ndarray import Array
from ..nn import Module


def _host(value: Any) -> Any:
    """Arrays as NumPy's, in dicts and sequences too; float16 and bfloat16 widened, which TensorBoard does not know."""
    if isinstance(value, Variable):
        value = value.detach().data
    if isinstance(value, Array):
        host = value.numpy()
        return host.astype(np.float32) if value.dtype.name in ("float16", "bfloat16") else host
    if isinstance(value, Mapping):
        return {k: _host(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_host, value)) if not hasattr(value, "_fields") else type(value)(*map(_host, value))
    return value


class SummaryWriter:
    """Writes event files into ``log_dir`` (default: ``runs/`` with time, host name and ``comment``).

    The arguments and methods are PyTorch's. Closing flushes; ``with SummaryWriter(...) as writer`` closes.
    """

    def __init__(self, log_dir: Any = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
                 flush_secs: int = 120, filename_suffix: str = "") -> None:
        try:
            import tensorboardX
        except ImportError:
            raise missing("clgrad.utils.tensorboard.SummaryWriter", "tensorboardX", "tensorboard") from None
        self._writer = tensorboardX.SummaryWriter(
            logdir=None if log_dir is None else str(log_dir), comment=comment, purge_step=purge_step,
            max_queue=max_queue, flush_secs=flush_secs, filename_suffix=filename_suffix)
        self._open = True

    @property
    def log_dir(self) -> str:
        """The folder of the event files."""
        return self._writer.logdir

    def get_logdir(self) -> str:
        """The folder of the event files."""
        return self.log_dir

    @property
    def _to(self) -> Any:
        if not self._open:
            raise ValueError(bad("SummaryWriter", "a call after close()", "an open writer", "Make another one."))
        return self._writer

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None,
                   new_style: bool = False, double_precision: bool = False) -> None:
        """One number: a Python one, or an array of one element."""
        from tensorboardX import summary

        self._put(summary.scalar(tag, _number("add_scalar", scalar_value)), tag, global_step, walltime)

    def _put(self, made: Any, tag: str, global_step: int | None, walltime: float | None) -> None:
        """Write a summary under the tag as it was given: tensorboardX's own have blanks and the like replaced."""
        for value in made.value:
            value.tag = tag
        self._to.file_writer.add_summary(made, global_step, walltime)

    def add_scalars(self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None,
                    walltime: float | None = None) -> None:
        """Several numbers in one plot, by name."""
        self._to.add_scalars(main_tag, {k: _number("add_scalars", v) for k, v in tag_scalar_dict.items()}, global_step,
                             walltime)

    def add_histogram(self, tag: str, values: Any, global_step: int | None = None, bins: Any = "tensorflow",
                      walltime: float | None = None, max_bins: int | None = None) -> None:
        """The distribution of an array's values."""
        host = np.asarray(_host(values))
        if host.size == 0:
            raise ValueError(bad("add_histogram", f"an empty array for {tag!r}", "at least one value", "Leave it out."))
        from tensorboardX import summary

        bins = self._to.default_bins if bins == "tensorflow" else bins
        self._put(summary.histogram(tag, host.ravel(), bins, max_bins), tag, global_step, walltime)

    def add_text(self, tag: str, text_string: str, global_step: int | None = None,
                 walltime: float | None = None) -> None:
        """A text, shown as Markdown."""
        self._to.add_text(tag, text_string, global_step, walltime)

    def add_image(self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
                  dataformats: str = "CHW") -> None:
        """An image: bytes, or floats from 0 to 1; needs Pillow."""
        self._needs_pillow("add_image")
        from tensorboardX import summary

        self._put(summary.image(tag, _pixels(img_tensor), dataformats=dataformats), tag, global_step, walltime)

    def add_images(self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None,
                   dataformats: str = "NCHW") -> None:
        """Several images in one grid; needs Pillow."""
        self._needs_pillow("add_images")
        from tensorboardX import summary

        self._put(summary.image(tag, _pixels(img_tensor), dataformats=dataformats), tag, global_step, walltime)

    @staticmethod
    def _needs_pillow(op: str) -> None:
        try:
            import PIL  # noqa: F401
        except ImportError:
            raise missing(f"SummaryWriter.{op}", "Pillow", "vision") from None

    def add_figure(self, tag: str, figure: Any, global_step: int | None = None, close: bool = True,
                   walltime: float | None = None) -> None:
        """A Matplotlib figure, or a list of them, as an image."""
        self._to.add_figure(tag, figure, global_step, close, walltime)

    def add_pr_curve(self, tag: str, labels: Any, predictions: Any, global_step: int | None = None,
                     num_thresholds: int = 127, weights: Any = None, walltime: float | None = None) -> None:
        """Precision against recall of predictions from 0 to 1 for labels 0 and 1."""
        self._to.add_pr_curve(tag, np.asarray(_host(labels)), np.asarray(_host(predictions)), global_step,
                              num_thresholds, _host(weights), walltime)

    def add_embedding(self, mat: Any, metadata: Any = None, label_img: Any = None, global_step: int | None = None,
                      tag: str = "default", metadata_header: Any = None) -> None:
        """Points of a matrix, a row each, for the projector."""
        self._to.add_embedding(np.asarray(_host(mat)), metadata, _host(label_img), global_step, tag, metadata_header)

    def add_hparams(self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any],
                    hparam_domain_discrete: Any = None, run_name: str | None = None,
                    global_step: int | None = None) -> None:
        """Hyper-parameters of a run (numbers, strings, bools) and the numbers that came of them."""
        metrics = {k: _number("add_hparams", v) for k, v in metric_dict.items()}
        parameters = {k: _host(v).item() if isinstance(v, (Variable, Array)) else v for k, v in hparam_dict.items()}
        self._to.add_hparams(parameters, metrics, name=run_name, global_step=global_step)

    def add_graph(self, model: Module, input_to_model: Any = None, verbose: bool = False,
                  use_strict_trace: bool = True) -> None:
        """The graph of ops that ``model`` runs on its inputs, each in the scope of its module.

        The model is called once, as it is (training or not). What is shown is what the model's derivative goes through:
        ops on the way from parameters, or from the inputs, to the results.
        """
        if input_to_model is None:
            raise ValueError(bad("add_graph", "no input", "what the model is called with",
                                 "Pass an array, or a tuple of arguments."))
        arguments = input_to_model if isinstance(input_to_model, tuple) else (input_to_model,)
        nodes = _Trace().of(model, arguments)
        if verbose:
            for node in nodes:
                print(f"{node.name} = {node.op}({', '.join(node.inputs)})")
        self._write_graph(nodes)

    def _write_graph(self, nodes: Sequence[_Node]) -> None:
        from tensorboardX.proto.attr_value_pb2 import AttrValue
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.graph_pb2 import GraphDef
        from tensorboardX.proto.node_def_pb2 import NodeDef
        from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboardX.proto.versions_pb2 import VersionDef

        def shape(sizes: Sequence[int]) -> AttrValue:
            dims = [TensorShapeProto.Dim(size=n) for n in sizes]
            return AttrValue(list=AttrValue.ListValue(shape=[TensorShapeProto(dim=dims)]))

        made = [NodeDef(name=n.name, op=n.op, input=n.inputs,
                        attr={"_output_shapes": shape(n.shape)} if n.shape is not None else {}) for n in nodes]
        graph = GraphDef(node=made, versions=VersionDef(producer=22))
        self._to.file_writer.event_writer.add_event(Event(graph_def=graph.SerializeToString()))

    def flush(self) -> None:
        """Write what is waiting to disk."""
        self._to.flush()

    def close(self) -> None:
        """Flush and close; once more does nothing."""
        if self._open:
            self._open = False
            self._writer.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _number(op: str, value: Any) -> float:
    host = np.asarray(_host(value))
    if host.size != 1 or host.dtype.kind not in "biuf":
        raise ValueError(bad(op, f"a value of shape {host.shape} and dtype {host.dtype}", "one real number",
                             "Use .mean(), or add_histogram."))
    return float(host.reshape(()))


def _pixels(images: Any) -> np.ndarray:
    host = np.asarray(_host(images))
    return host.astype(np.uint8) * 255 if host.dtype == bool else host


# The graph of a model ----------------------------------------------------------------------------------------------


class _Node:
    """One op of a graph as TensorBoard shows it: names are paths of scopes."""

    def __init__(self, name: str, op: str, inputs: list[str], shape: Sequence[int] | None) -> None:
        self.name = name
        self.op = op
        self.inputs = inputs
        self.shape = shape


_patching = threading.Lock()


class _Trace:
    """Runs a model and finds the ops behind its results, and the module that ran each: the innermost one whose result
    an op stands behind is the first to return."""

    def __init__(self) -> None:
        self._scope_of: dict[int, str] = {}
        self._keep: list[Any] = []
        self._shapes: dict[int, Sequence[int]] = {}
        self._scopes: list[str] = []

    def of(self, model: Module, arguments: tuple) -> list[_Node]:
        """The nodes, inputs first."""
        names = {id(m): n for n, m in model.named_modules()}
        leaves = {id(p): (n.replace(".", "/"), "Parameter", p.shape) for n, p in model.named_parameters()}
        inputs, asked = [], []
        for i, a in enumerate(arguments):
            if isinstance(a, (Variable, Array)) and a.dtype.kind == "f":
                a = Variable(a if isinstance(a, Array) else a.data, requires_grad=True)
                leaves[id(a)] = (f"input_{i}", "Input", a.shape)
                asked.append(a)
            inputs.append(a)
        with _recorded(self, names, type(model).__name__):
            results = model(*inputs)
        self._keep.append((results, asked))
        return self._nodes(results, leaves, type(model).__name__)

    def enter(self, scope: str, arguments: Any) -> None:
        """A module begins: what stands behind its arguments was run by the one that calls it."""
        if self._scopes:
            self._claim(arguments, self._scopes[-1])
        self._scopes.append(scope)

    def leave(self, result: Any) -> None:
        """A module has given its result: the ops behind it that no inner module has claimed are its own."""
        self._claim(result, self._scopes.pop())

    def _claim(self, result: Any, scope: str) -> None:
        for v in _variables(result):
            if v.node is not None:
                self._shapes.setdefault(id(v.node), v.shape)
        for node in _behind(_variables(result), lambda n: id(n) in self._scope_of):
            self._scope_of[id(node)] = scope
            self._keep.append(node)

    def _nodes(self, results: Any, leaves: dict[int, tuple], root: str) -> list[_Node]:
        nodes = sorted(_behind(_variables(results), lambda n: False), key=lambda n: n.number)
        name_of, made, used = {}, [], set()
        for node in nodes:
            sources = [edge[0] for edge in node.edges if edge is not None]
            for leaf in (s for s in sources if isinstance(s, Variable) and id(s) not in name_of):
                name, op, shape = leaves.get(id(leaf), (f"constant_{len(name_of)}", "Leaf", leaf.shape))
                name_of[id(leaf)] = f"{root}/{name}" if op == "Parameter" else name
                made.append(_Node(name_of[id(leaf)], op, [], shape))
            inputs = [name_of[id(s)] for s in sources]
            name = _unused(f"{self._scope_of.get(id(node), root)}/{node.name.removesuffix('Backward')}", used)
            name_of[id(node)] = name
            made.append(_Node(name, node.name.removesuffix("Backward"), inputs, self._shapes.get(id(node))))
        for i, v in enumerate(_variables(results)):
            source = [name_of[id(v.node)]] if v.node is not None and id(v.node) in name_of else []
            made.append(_Node(f"output_{i}", "Output", source, v.shape))
        return made


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number where it is taken."""
    number, result = 1, name
    while result in used:
        result = f"{name}_{number}"
        number += 1
    used.add(result)
    return result


def _variables(value: Any) -> Iterator[Variable]:
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from _variables(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _variables(v)


def _behind(variables: Iterator[Variable], known: Any) -> list[Any]:
    """Graph nodes reachable from some Variables without passing a known one."""
    stack, seen, found = [v.node for v in variables if v.node is not None], set(), []
    while stack:
        node = stack.pop()
        if id(node) in seen or known(node):
            continue
        seen.add(id(node))
        found.append(node)
        stack += [e[0] for e in node.edges if e is not None and not isinstance(e[0], Variable)]
    return found


@contextmanager
def _recorded(trace: _Trace, names: dict[int, str], root: str) -> Iterator[None]:
    """Within the block every module's call in this thread is told to ``trace``."""
    call, thread = Module.__call__, threading.get_ident()

    def told(self: Module, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return call(self, *args, **kwargs)
        name = names.get(id(self), type(self).__name__).replace(".", "/")
        scope = f"{root}/{name}" if name else root
        trace.enter(f"{scope}[{type(self).__name__}]" if name else root, (args, kwargs))
        result = None
        try:
            result = call(self, *args, **kwargs)
        finally:
            trace.leave(result)
        return result

    with _patching:
        Module.__call__ = told  # type: ignore[method-assign]
        try:
            yield
        finally:
            Module.__call__ = call  # type: ignore[method-assign]
