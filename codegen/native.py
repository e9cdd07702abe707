"""The entrance of the native targets: a cell as a module for torch or JAX, and as a net or a function inside of them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib import import_module
from types import ModuleType
from typing import Any

from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import compile
from symbptt.codegen.load import code_of, load
from symbptt.codegen.options import check_absent
from symbptt.codegen.passes import NATIVE
from symbptt.codegen.program.program import Program, program_of
from symbptt.codegen.targets.functional.module import interface, source
from symbptt.codegen.targets.functional.tables import TABLES
from symbptt.equations.derived import equations_of, looped_equations_of
from symbptt.errors import ArgumentError
from symbptt.extras import need
from symbptt.ir.sizes import axes_of, solved
from symbptt.language.cell import Cell
from symbptt.language.model import Model
from symbptt.version import VERSION


def torch_source(
    cell: Cell,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: None = None,
    clip_adjoint: None = None,
    memory: str = "all",
) -> str:
    """Return a module that runs a cell and its derived gradient in torch, and imports torch alone. The options of `compile`
    beside `consts` are taken to be refused by their names.

    Example::

        pathlib.Path("gru_torch.py").write_text(sb.torch_source(gru))

    Raises: ArgumentError where `cell` is none, and for an option that torch modules do not have; CellError for what torch, or the
    target, does not have.
    """
    check_cell("torch_source", cell)
    check_absent("torch", cell.name, truncation, clip_adjoint, memory)
    return _source("torch", cell, consts)


def jax_source(
    cell: Cell,
    *,
    consts: Mapping[str, Any] | None = None,
    truncation: None = None,
    clip_adjoint: None = None,
    memory: str = "all",
) -> str:
    """Return a module that runs a cell and its derived gradient in JAX, and imports jax alone. The options of `compile`
    beside `consts` are taken to be refused by their names.

    Raises: ArgumentError where `cell` is none, and for an option that JAX modules do not have; CellError for what JAX, or the
    target, does not have.
    """
    check_cell("jax_source", cell)
    check_absent("jax", cell.name, truncation, clip_adjoint, memory)
    return _source("jax", cell, consts)


def torch(
    cell: Cell,
    sizes: Mapping[str, int],
    *,
    seed: int = 0,
    consts: Mapping[str, Any] | None = None,
    backend: str = "native",
) -> Any:
    """Return a `torch.nn.Module` of a cell over all steps, with the derived backward pass and parameters named as the cell's.

    `outputs, final = net(inputs, state=None, lengths=None, reset=None)`: `outputs` has the states after each step and the outputs of the
    cell by name, `final` the states after the last step. First values are those of `cell.init(sizes, seed=seed)`. The backend "native" is
    made of operations of torch, on any device and type; "kernel" is the NumPy kernel, on the CPU in float32 and float64, without
    second derivatives.

    Shapes: inputs (T, B, ...), a dict, or the tensor of the only one; states (B, ...); outputs (T, B, ...); lengths (B,); reset (T, B).

    Example::

        net = sb.torch(gru, {"m": 3, "n": 8})
        outputs, final = net(x)
        torch.nn.functional.mse_loss(outputs["h"], y).backward()

    Raises: ArgumentError where `cell` is none, and for a backend that is not there; CellError for what torch does not have;
    SymbpttError where torch is not installed.
    """
    module, cell = _module("torch", cell, consts, backend)
    first = cell.init(sizes, seed=seed)
    known = solved(axes_of(cell.arguments), {name: int(n) for name, n in sizes.items()})
    net = module.Net(known)
    framework = need("torch", "torch")
    with framework.no_grad():
        for name, value in net.weights().items():
            value.copy_(framework.from_numpy(first[name]))
    return net


def jax(cell: Cell, *, consts: Mapping[str, Any] | None = None, backend: str = "native") -> Callable[..., Any]:
    """Return a function of JAX of a cell over all steps, with the derived backward pass, for `jit`, `vmap` and `grad`.

    `states, outputs = f(params, inputs, state=None, lengths=None, reset=None)`, dicts by name; `cell.init` gives `params`. The backend
    "native" is two scans of JAX; "kernel" is the NumPy kernel behind a callback, on the CPU.

    Shapes: inputs (T, B, ...); states (B, ...); results (T, B, ...); lengths (B,); reset (T, B).

    Raises: ArgumentError where `cell` is none, and for a backend that is not there; CellError for what JAX does not have;
    SymbpttError where JAX is not installed.
    """
    run: Callable[..., Any] = _module("jax", cell, consts, backend)[0].run
    return run


def _module(framework: str, cell: Cell, consts: Mapping[str, Any] | None, backend: str) -> tuple[ModuleType, Cell]:
    """Return the loaded module of a cell, and the cell with its constants."""
    check_cell(framework, cell)
    if not isinstance(backend, str) or backend not in ("native", "kernel"):
        raise ArgumentError(f'backend: "native" or "kernel" is expected, got {backend!r}')
    need(framework, framework)
    cell = cell if consts is None else cell.with_consts(consts)
    name = f"<{framework} module of {cell.name}>"
    if backend == "native":
        return _importable(_source(framework, cell, None), name), cell
    kernel = compile(cell)
    equations = (looped_equations_of(cell) or equations_of(cell)).as_spelt()
    module = load(interface(kernel.program, TABLES[framework], VERSION, equations), name)
    inside = import_module(f"symbptt.codegen.frameworks.{framework}_kernel")
    setattr(module, TABLES[framework].recurrence, inside.recurrence(kernel, module))
    return module, cell


def _importable(text: str, file: str) -> ModuleType:
    """Return a module made from source text, found by its name from then on, as `torch.compile` and pickles ask."""
    name = f"symbptt_native_{sha256(text.encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        module = ModuleType(name)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(code_of(text, file), module.__dict__)
        sys.modules[name] = module
    return sys.modules[name]


def _source(framework: str, cell: Cell, consts: Mapping[str, Any] | None) -> str:
    cell = cell if consts is None else cell.with_consts(consts)
    return source(program(cell), TABLES[framework], VERSION, equations_of(cell).as_spelt())


def program(cell: Cell) -> Program:
    """Return the program of a cell behind the passes of native targets."""
    found = program_of(derive(cell.step))
    for step in NATIVE:
        found = step(found)
    return found


def check_cell(function: str, cell: Any) -> None:
    """Raises: ArgumentError where what should be a cell is none; CellError for a cell of complex numbers."""
    if isinstance(cell, Model):
        raise ArgumentError(
            f"{cell.name} is a model, {function} takes cells\n"
            f"  write the cell {cell.cell.name}, and the loss in the framework around it"
        )
    if not isinstance(cell, Cell):
        raise ArgumentError(
            f"{function} takes a cell, got {type(cell).__name__}\n  decorate the function with @sb.cell"
        )
    cell.check_real()
