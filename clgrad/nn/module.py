"""Module: parameters, buffers and children by name, as PyTorch's. A Parameter is a Variable that asks for gradients."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..autograd.variable import Variable, unwrap
from ..core import dtypes
from ..core.errors import ClgradError, bad
from ..core.hooks import RemovableHandle
from ..factories import as_array
from ..ndarray import Array, move
from ..ops.convert import cpu as on_cpu
from ..ops.convert import typed
from ..ops.elementwise import assign as write
from ..runtime.device import Device
from ..runtime.device import device as find_device
from . import hooks

_TABLES = ("_parameters", "_buffers", "_modules")


class StateDictError(ClgradError, RuntimeError):
    """A state_dict that does not fit a module; the message names the keys."""


class LoadResult(NamedTuple):
    """Keys that a state_dict lacked, and keys that it had beyond the module's."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"LoadResult(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Parameter(Variable):
    """A Variable that a Module registers when it becomes its attribute. It requires a gradient unless told not to."""

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Variable):
    """A Variable that a Module registers as a buffer when it becomes its attribute; saved only if ``persistent``."""

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent


class Module:
    """Base of layers and models: set Parameters and Modules as attributes and write :meth:`forward`."""

    training: bool

    def __init__(self) -> None:
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_modules", {})
        put("_transient", set())  # buffers that state_dict leaves out
        put("_hooks", None)  # by kind, once there are any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} needs a forward method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs) if self._hooks is None else hooks.call(self, args, kwargs)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def _hook(self, kind: str, hook: Any, prepend: bool = False) -> RemovableHandle:
        if self._hooks is None:
            self.__dict__["_hooks"] = {}
        return RemovableHandle.add(self._hooks.setdefault(kind, OrderedDict()), hook, prepend)

    def register_forward_pre_hook(self, hook: Callable, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before each forward; what it returns, if anything, are the arguments instead.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)``, which returns None or both.
        """
        return self._hook("forward_pre", (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each forward; what it returns, if anything, is the output instead.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``; with ``always_call`` it is called although
        forward raised, with the output so far or None.
        """
        return self._hook("forward", (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the outputs' gradients are known; it may return others."""
        return self._hook("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the inputs' gradients are known; it may return other
        ones for the inputs. Arguments by position that are Variables count as inputs."""
        return self._hook("backward", hook, prepend)

    register_backward_hook = register_full_backward_hook

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before the module's values are collected."""
        return self._hook("save_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after they are; it may change the dict."""
        return self._hook("save_post", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``
        before values are looked up; it may change the dict, which is a copy."""
        return self._hook("load_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it may change the two lists of keys."""
        return self._hook("load_post", hook)

    # Attributes ----------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if "_modules" not in tables:
            if isinstance(value, (Parameter, Buffer, Module)):
                raise AttributeError(bad(type(self).__name__, f"attribute {name!r} before Module.__init__",
                                         "super().__init__() first", "Call it in the first line of __init__."))
            super().__setattr__(name, value)
            return
        home = next((t for t in _TABLES if name in tables[t]), None)
        if isinstance(value, (Parameter, Module)):
            home = "_parameters" if isinstance(value, Parameter) else "_modules"
            self._forget(name, but=home)
        elif isinstance(value, Buffer):
            home = "_buffers"
            self._forget(name, but=home)
            if not value.persistent:
                self._transient.add(name)
        elif home == "_buffers" and isinstance(value, Array):
            value = Variable(value)
        elif home is not None and value is not None and not (home == "_buffers" and isinstance(value, Variable)):
            kind = {"_parameters": "a Parameter", "_buffers": "an array", "_modules": "a Module"}[home]
            raise TypeError(bad(f"{type(self).__name__}.{name}", f"a {type(value).__name__}", f"{kind} or None",
                                f"Delete the attribute first to give {name!r} another meaning."))
        if home is None:
            super().__setattr__(name, value)
        else:
            tables[home][name] = value

    def _forget(self, name: str, but: str | None = None) -> None:
        """Remove an attribute from wherever it is, ``but`` for one table, in which it keeps its place."""
        self.__dict__.pop(name, None)
        self._transient.discard(name)
        for table in _TABLES:
            if table != but:
                self.__dict__[table].pop(name, None)

    def __getattr__(self, name: str) -> Any:
        for table in _TABLES:
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if any(name in self.__dict__[t] for t in _TABLES):
            self._forget(name)
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a Parameter, or None for one that this configuration does not have."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(bad("register_parameter", f"a {type(param).__name__}", "a Parameter or None",
                                "Wrap it in Parameter(...)."))
        self._check_name("register_parameter", name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add an array that is state but no parameter: it moves with the module, and is saved if ``persistent``."""
        if tensor is not None and not isinstance(tensor, (Variable, Array)):
            raise TypeError(bad("register_buffer", f"a {type(tensor).__name__}", "a Variable, an Array or None",
                                "Use clgrad.tensor(...)."))
        self._check_name("register_buffer", name)
        self._buffers[name] = Variable(tensor) if isinstance(tensor, Array) else tensor
        if not persistent:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child; the name may be computed."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(bad("add_module", f"a {type(module).__name__}", "a Module or None",
                                "Put functions into a Module's forward."))
        self._check_name("add_module", name)
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, op: str, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(bad(op, f"the name {name!r}", "a non-empty string without a dot", "Choose another name."))
        if hasattr(self, name):
            raise KeyError(bad(op, f"the name {name!r}", "a name that is not an attribute yet", "Choose another name."))

    # Walking -------------------------------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, parents first; each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            children = [(f"{name}.{n}" if name else n, m) for n, m in module._modules.items() if m is not None]
            stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        return (m for _, m in self.named_children())

    def _members(self, table: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Variable]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, once) if recurse else ((prefix, self),):
            for name, value in getattr(module, table).items():
                if value is not None and not (once and id(value) in seen):
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted names; a shared one appears once."""
        return self._members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, as an optimiser takes them."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Variable]]:
        """Buffers with their dotted names."""
        return self._members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Variable]:
        """The buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; the empty name is this one."""
        module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(bad("get_submodule", f"{target!r}: {type(module).__name__} has no child {name!r}",
                                         f"one of {[n for n, _ in module.named_children()]}", "Check the name."))
            module = found
        return module

    def _named(self, op: str, target: str, table: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if getattr(module, table).get(name) is None:
            raise AttributeError(bad(op, f"{target!r}: {type(module).__name__} has no {name!r}",
                                     f"one of {[n for n, v in getattr(module, table).items() if v is not None]}",
                                     "Check the name."))
        return getattr(module, table)[name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        return self._named("get_parameter", target, "_parameters")

    def get_buffer(self, target: str) -> Variable:
        """The buffer of a dotted name."""
        return self._named("get_buffer", target, "_buffers")

    def set_submodule(self, target: str, module: Module) -> None:
        """Put a module in the place of the one with a dotted name."""
        path, _, name = target.rpartition(".")
        self.get_submodule(target)
        setattr(self.get_submodule(path), name, module)

    # Saving --------------------------------------------------------------------------------------------------------

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Variable]]:
        """Parameters and persistent buffers under every name they have."""
        for path, module in self.named_modules(prefix.rstrip("."), remove_duplicate=False):
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                if value is not None and name not in module._transient:
                    yield (f"{path}.{name}" if path else name), value

    def state_dict(self, *, destination: dict | None = None, prefix: str = "",
                   keep_vars: bool = False) -> dict[str, Variable]:
        """Parameters and persistent buffers by dotted name. They share the module's memory: clone what must stay.

        ``keep_vars`` gives the Parameters themselves rather than Variables outside the graph. ``destination`` is the
        dict to add to.
        """
        result = {} if destination is None else destination
        hooked = [(f"{path}." if path else prefix, m) for path, m in self.named_modules(prefix.rstrip("."), False)
                  if m._hooks is not None]
        for path, module in hooked:
            for hook in module._hooks.get("save_pre", {}).values():
                hook(module, path, keep_vars)
        result.update((name, v if keep_vars else v.detach()) for name, v in self._state(prefix))
        for path, module in reversed(hooked):
            for hook in module._hooks.get("save_post", {}).values():
                hook(module, result, path, {})
        return result

    _later_buffers: tuple[str, ...] = ()  # that files of older versions lack; they then stay as they are

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> LoadResult:
        """Copy values into parameters and buffers by name, converting dtype and device.

        StateDictError names every key that is missing or unexpected (unless not ``strict``) and every one of another
        shape; nothing is changed then. Values are Variables, Arrays or NumPy arrays. ``assign`` takes the values
        themselves, with their dtype and device, in place of copying.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(bad("load_state_dict", f"a {type(state_dict).__name__}", "a dict of arrays by name",
                                "Pass what state_dict() or clgrad.load() gave."))
        missing, unexpected, problems = [], [], []
        hooked = [(f"{path}." if path else "", m) for path, m in self.named_modules() if m._hooks is not None]
        if any("load_pre" in m._hooks for _, m in hooked):
            state_dict = dict(state_dict)
        for path, module in hooked:
            for hook in module._hooks.get("load_pre", {}).values():
                hook(module, state_dict, path, {}, strict, missing, unexpected, problems)
        own = dict(self._state())
        late = {f"{path}.{n}" if path else n for path, m in self.named_modules() for n in m._later_buffers}
        missing += [k for k in own if k not in state_dict and k not in late]
        unexpected += [k for k in state_dict if k not in own]
        result = LoadResult(missing, unexpected)
        for _, module in hooked:
            for hook in module._hooks.get("load_post", {}).values():
                hook(module, result)
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        problems += [f"{k}: shape {tuple(np.shape(unwrap(v)))}, expected {own[k].shape}" for k, v in state_dict.items()
                     if k in own and tuple(np.shape(unwrap(v))) != own[k].shape]
        if problems:
            raise StateDictError(f"load_state_dict: got a state_dict that does not fit {type(self).__name__}: "
                                 f"{'; '.join(problems)}. Build the module as the saved one was, or pass strict=False "
                                 "to leave out names that do not match.")
        for name, value in state_dict.items():
            if name in own and assign:
                own[name].data = as_array(value)
            elif name in own:
                write(own[name].data, move(as_array(value, device=own[name].device), own[name].device))
        return result

    # Changing ------------------------------------------------------------------------------------------------------

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call ``fn`` on every module, children first; returns itself."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Set ``training`` here and below: dropout and the like act in training only."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """The same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Ask for the gradient of every parameter, or stop asking."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the parameters' gradients, or set them to zero in place."""
        for p in self.parameters():
            clear_gradient(p, set_to_none)

    def to(self, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Module:
        """Move and convert parameters, their gradients and buffers; returns itself.

        ``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(array)`` for its device and dtype. Only float and
        complex values take the dtype, which must be one of these. The Parameters stay the same objects, so an
        optimiser made before still has them.
        """
        for a in args:
            if isinstance(a, (Variable, Array)):
                device, dtype = a.device, a.dtype
            elif _is_device(a):
                device = a
            elif not isinstance(a, bool):  # a bool is PyTorch's non_blocking
                dtype = a
        target = None if device is None else find_device(device)
        kind = None if dtype is None else dtypes.dtype(dtype)
        self._check_dtype("to", kind)

        def convert(a: Array) -> Array:
            a = a if target is None else move(a, target)
            return a.astype(kind) if kind is not None and a.dtype.kind in "fc" else a

        return self._convert(convert)

    def _check_dtype(self, name: str, dtype: Any) -> None:
        if dtype is not None and dtype.kind not in "fc":
            raise TypeError(bad(f"{type(self).__name__}.{name}", dtype, "a float or complex dtype",
                                "Parameters need gradients, which integers have not."))

    def _convert(self, convert: Callable[[Array], Array]) -> Module:
        """Give every parameter, gradient and buffer what ``convert`` makes of it."""
        for v in itertools.chain(self.parameters(), self.buffers()):
            v.data = convert(v.data)
            if v.grad is not None:
                v.grad = Variable(convert(v.grad.data))
        return self

    def float(self) -> Module:
        """Float values as float32."""
        return self.to(dtypes.float32)

    def double(self) -> Module:
        """Float values as float64."""
        return self.to(dtypes.float64)

    def half(self) -> Module:
        """Float values as float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Module:
        """Float values as bfloat16."""
        return self.to(dtypes.bfloat16)

    def type(self, dst_type: Any) -> Module:
        """Every parameter and buffer, integers included, as another float or complex dtype or typed tensor;
        ``torch.cuda.FloatTensor`` moves them to a GPU too. :meth:`to` leaves integers as they are."""
        dtype, device = typed(dst_type)
        self._check_dtype("type", dtype)
        moved = self if device is None else self.to(device=device)
        return moved._convert(lambda a: a.astype(dtype))

    def cpu(self) -> Module:
        """Move what is on no CPU device to the first one; where there is none, everything stays where it is."""
        return self._convert(on_cpu)

    def cuda(self, device: Any = None) -> Module:
        """Move to a GPU by PyTorch's name of it."""
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def share_memory(self) -> Module:
        """PyTorch's call before processes share a module: device memory has no owner process to share it from."""
        return self

    # Printing ------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """A layer's own part of its repr, in one line."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()]
        return block(self._get_name(), extra.split("\n") if extra else [], lines)


def block(name: str, extra: list[str], lines: list[str]) -> str:
    """PyTorch's layout of a module's repr: in one line if it can, else a line each."""
    if len(extra) < 2 and not lines:
        return f"{name}({''.join(extra)})"
    return f"{name}(\n  " + "\n  ".join(extra + lines) + "\n)"


def _is_device(value: Any) -> bool:
    if isinstance(value, Device) or (isinstance(value, int) and not isinstance(value, bool)):
        return True
    return isinstance(value, str) and value not in dtypes.NAMES


def clear_gradient(p: Variable, set_to_none: bool) -> None:
    """Forget a gradient, or take it out of its graph and fill it with zeros."""
    if p.grad is None:
        return
    if set_to_none:
        p.grad = None
    else:
        p.grad = p.grad.detach()
        write(p.grad.data, 0)
