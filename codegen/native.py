"""The entrance of the native targets: a cell as a module for torch or JAX, and as a net or a function inside of them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import compile
from symbptt.codegen.load import code_of, load
from symbptt.codegen.options import check_absent, check_options
from symbptt.codegen.options import check_target as check_kernel_target
from symbptt.codegen.passes import NATIVE
from symbptt.codegen.program.at_once import program_at_once
from symbptt.codegen.program.head import Head
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.program.regions import place
from symbptt.codegen.targets.functional.module import Asked, interface, source
from symbptt.codegen.targets.functional.tables import TABLES
from symbptt.equations.derived import equations_of, looped_equations_of
from symbptt.errors import ArgumentError, instead_of_cell
from symbptt.extras import need
from symbptt.ir.sizes import axes_of, solved
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.language.truncation import Chunked, Window
from symbptt.version import VERSION


@dataclass(frozen=True)
class Flow:
    """How gradients flow back in a native module: the options `truncation` and `clip_adjoint` of `sb.compile`."""

    truncation: Window | Chunked | None = None
    clip_adjoint: float | None = None

    def __post_init__(self) -> None:
        check_options(self.truncation, self.clip_adjoint)


def torch_source(
    target: Cell | Model,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: Window | Chunked | None = None,
    clip_adjoint: float | None = None,
    memory: Literal["all"] = "all",
) -> str:
    """Return a module that runs a cell or a model and its derived gradient in torch, and imports torch alone;
    another `memory` than "all" is refused.

    Example::

        pathlib.Path("gru_torch.py").write_text(sb.torch_source(gru))

    Raises: ArgumentError where `target` is neither; CellError for what torch, or the target, does not have.
    """
    return _source("torch", target, consts, Flow(truncation, clip_adjoint), memory)


def jax_source(
    target: Cell | Model,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: Window | Chunked | None = None,
    clip_adjoint: float | None = None,
    memory: Literal["all"] = "all",
) -> str:
    """Return a module that runs a cell or a model and its derived gradient in JAX, and imports jax alone;
    another `memory` than "all" is refused.

    Raises: ArgumentError where `target` is neither; CellError for what JAX, or the target, does not have.
    """
    return _source("jax", target, consts, Flow(truncation, clip_adjoint), memory)


def torch(
    cell: Cell | Model,
    /,
    sizes: Mapping[str, int],
    *,
    seed: int = 0,
    consts: Mapping[str, Any] | None = None,
    truncation: Window | Chunked | None = None,
    clip_adjoint: float | None = None,
    backend: Literal["native", "kernel"] = "native",
    target: Literal["numpy", "c", "auto"] = "numpy",
) -> Any:
    """Return a `torch.nn.Module` of a cell or a model over all steps, with the derived backward pass and parameters named as the cell's.

    `outputs, final = net(inputs, state=None, lengths=None, reset=None)`: `outputs` has the states after each step and the outputs of the
    cell by name, `final` the states after the last step. Of a model `loss, final = net(inputs, targets, state=None, lengths=None,
    reset=None)`, and `net.predict(inputs, ...)` is what the loss returns beside its value. First values are those of
    `cell.init(sizes, seed=seed)`. `truncation` and `clip_adjoint` are those of `sb.compile`. The backend "native" is made of operations
    of torch, on any device and type; "kernel" has the kernel of the cell inside, `sb.compile(cell, target=target)`, on the CPU in float32
    and float64, without second derivatives.

    Shapes: inputs (T, B, ...), a dict, or the tensor of the only one, and targets likewise; states (B, ...); outputs (T, B, ...);
    lengths (B,); reset (T, B).

    Example::

        net = sb.torch(gru, {"m": 3, "n": 8})
        outputs, final = net(x)
        torch.nn.functional.mse_loss(outputs["h"], y).backward()

    Raises: ArgumentError where `cell` is neither, and for options and a backend that are not there; CellError for what torch does not
    have; SymbpttError where torch is not installed.
    """
    module, own = _module("torch", cell, consts, Flow(truncation, clip_adjoint), backend, target)
    first = own.init(sizes, seed=seed)
    known = solved(axes_of(own.arguments), {name: int(n) for name, n in sizes.items()})
    net = module.Net(known)
    framework = need("torch", "torch")
    with framework.no_grad():
        for name, value in net.weights().items():
            value.copy_(framework.from_numpy(first[name]))
    return net


def jax(
    cell: Cell | Model,
    /,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: Window | Chunked | None = None,
    clip_adjoint: float | None = None,
    backend: Literal["native", "kernel"] = "native",
    target: Literal["numpy", "c", "auto"] = "numpy",
) -> Callable[..., Any]:
    """Return a function of JAX of a cell or a model over all steps, with the derived backward pass, for `jit`, `vmap` and `grad`.

    `states, outputs = f(params, inputs, state=None, lengths=None, reset=None)`, dicts by name; `cell.init` gives `params`. Of a model
    `loss, final = f(params, inputs, targets, state=None, lengths=None, reset=None)`, for `jax.value_and_grad(f, has_aux=True)`, and
    `f.predict(params, inputs, ...)` is what the loss returns beside its value. `truncation` and `clip_adjoint` are those of `sb.compile`.
    The backend "native" is two scans of JAX; "kernel" has the kernel of the cell behind a callback, `sb.compile(cell, target=target)`,
    on the CPU.

    Shapes: inputs and targets (T, B, ...); states (B, ...); results (T, B, ...); lengths (B,); reset (T, B).

    Raises: ArgumentError where `cell` is neither, and for options and a backend that are not there; CellError for what JAX does not
    have; SymbpttError where JAX is not installed.
    """
    module, own = _module("jax", cell, consts, Flow(truncation, clip_adjoint), backend, target)
    if isinstance(own, Cell):
        run: Callable[..., Any] = module.run
        return run
    value: Any = module.value
    value.predict = module.predict
    return value


def _module(
    framework: str, target: Cell | Model, consts: Mapping[str, Any] | None, flow: Flow, backend: str, inside: Any
) -> tuple[ModuleType, Cell | Model]:
    """Return the loaded module of a cell or a model, and that target with its constants."""
    check_target(framework, target)
    if not isinstance(backend, str) or backend not in ("native", "kernel"):
        raise ArgumentError(f'backend: "native" or "kernel" is expected, got {backend!r}')
    check_kernel_target(inside)
    if backend == "native" and inside != "numpy":
        raise ArgumentError(
            f'target={inside!r} is that of the kernel inside, and the native backend has none\n  write backend="kernel", target={inside!r}'
        )
    need(framework, framework)
    target = target if consts is None else target.with_consts(consts)
    name = f"<{framework} module of {target.name}>"
    if backend == "native":
        return _importable(_source(framework, target, None, flow, "all"), name), target
    # A loss is native beside a kernel too, so that the last states and targets have their gradients.
    kernel = compile(_cell_of(target), truncation=flow.truncation, clip_adjoint=flow.clip_adjoint, target=inside)
    equations = (looped_equations_of(target) or equations_of(target)).as_spelt()
    asked = Asked(kernel.program, TABLES[framework], VERSION, equations, _head(target), flow.truncation)
    module = load(interface(asked), name)
    of_kernel = import_module(f"symbptt.codegen.frameworks.{framework}_kernel")
    setattr(module, TABLES[framework].recurrence, of_kernel.recurrence(kernel, module))
    return module, target


def _importable(text: str, file: str) -> ModuleType:
    """Return a module made from source text, found by its name from then on, as `torch.compile` and pickles ask."""
    name = f"symbptt_native_{sha256(text.encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        module = ModuleType(name)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(code_of(text, file), module.__dict__)
        sys.modules[name] = module
    return sys.modules[name]


def _source(framework: str, target: Cell | Model, consts: Mapping[str, Any] | None, flow: Flow, memory: str) -> str:
    check_target(f"{framework}_source", target)
    check_absent(framework, target.name, None, None, memory)
    target = target if consts is None else target.with_consts(consts)
    equations = equations_of(target).as_spelt()
    found = program(_cell_of(target))
    return source(
        Asked(found, TABLES[framework], VERSION, equations, _head(target), flow.truncation, flow.clip_adjoint)
    )


def _cell_of(target: Cell | Model) -> Cell:
    return target.cell if isinstance(target, Model) else target


def _head(target: Cell | Model) -> Head | None:
    """Return the loss of a model next to the program of its cell. In a framework targets may have gradients as all else."""
    if isinstance(target, Cell):
        return None
    step = target.loss.step
    step = replace(
        step, arguments=tuple(replace(a, role="output") if a.role == "target" else a for a in step.arguments)
    )
    added = target.arguments[len(target.cell.arguments) :]
    told = target.loss.predicted
    if told is not None:
        # What is predicted reads no target.
        read = tuple(a for a in told.arguments if a.role not in ("target", "index"))
        told = replace(told, arguments=read, leaves={a.name: told.leaves[a.name] for a in read})
    predicted = None if told is None else program_at_once(told, told.outputs)
    return Head(place(program_of(derive(step))), predicted, added, target.at, target.reduction)


def program(cell: Cell) -> Program:
    """Return the program of a cell behind the passes of native targets."""
    found = program_of(derive(cell.step))
    for step in NATIVE:
        found = step(found)
    return found


def check_target(function: str, target: Any) -> None:
    """Raises: ArgumentError where what should be a cell or a model is neither; CellError for one of complex numbers."""
    if not isinstance(target, Cell | Model):
        raise ArgumentError(
            f"{function} takes a cell or a model, got {type(target).__name__}\n  {instead_of_cell(target)}"
        )
    _cell_of(target).check_real()
