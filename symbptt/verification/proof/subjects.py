"""What a proof runs: a module with each option, models with each loss, and the loops of a cell behind each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from symbptt.autodiff.bptt import derive
from symbptt.codegen.kernel import Kernel, Shared, compiled
from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.passes import PASSES
from symbptt.codegen.passes.still_sums import in_loops
from symbptt.codegen.program.program import program_of
from symbptt.codegen.program.regions import place
from symbptt.codegen.results import Grads
from symbptt.language.cell import Cell
from symbptt.language.held import HeldCell, HeldModel
from symbptt.language.model import Model
from symbptt.language.pairs import PairedCell, PairedModel, real_pairs
from symbptt.language.truncation import Chunked, Window
from symbptt.verification.blocks import Trusting, in_blocks
from symbptt.verification.held import HeldKernel
from symbptt.verification.oracle import Arrays, Point
from symbptt.verification.pairs import PairedKernel
from symbptt.verification.proof.c_loops import loops_of_c, run_in_floats, run_over_field
from symbptt.verification.proof.general_loss import general_loss
from symbptt.verification.proof.identity import Group
from symbptt.verification.proof.loops import UNCLIPPED, arithmetic, lowered, run_loops
from symbptt.verification.proof.modules import over_field, sharpened
from symbptt.verification.proof.norms import label
from symbptt.verification.proof.settings import (
    BYTES,
    FEW,
    IN_C,
    LAST,
    LOOPS,
    OPTIONS,
    PLAIN,
    Options,
    Setting,
    settings_of,
)

LOOPS_OF = "loops "
"""How the words of a subject begin that is loops, not a module."""
Found = tuple[Arrays, dict[Group, Any]]
"""Values by name, and gradients by group and name."""
Run = Callable[[Point, Arrays], Found]


@dataclass(frozen=True)
class Subject:
    """What is run: its words, the cell or the model, the truncation, and how it runs on elements and on floats."""

    words: str
    target: Cell | Model
    truncation: Any
    on_elements: Callable[[Setting], Run]
    on_floats: Callable[[Setting], Run]


def subjects_of(target: Cell | Model | Kernel) -> Iterator[tuple[Subject, list[Setting]]]:
    if isinstance(target, Kernel):
        plain = target.truncation is None and target.memory == "all"
        # Pieces by the bytes that a caller allows would be one piece of all few steps.
        options = None if isinstance(target.memory, str) else next(o for o in OPTIONS if o.memory == BYTES)
        if has_proved_loops(target):
            yield of_loops_in_c(target), [*IN_C]
        words = "this module" if target.in_c is None else "its module in NumPy"
        yield of_kernel(words, target, options), [*settings_of(target.target, PLAIN if plain else (*FEW, LAST))]
        if isinstance(target.target, Model) and not isinstance(target, PairedKernel | HeldKernel):
            # A loss calls the sweeps alone: what a caller gets of forward and backward is another path of the file.
            yield (
                of_kernel("its forward and backward", of_cell(target), options),
                [*settings_of(target.cell, (*FEW, LAST))],
            )
        return
    shared = Shared()
    yield of_kernel("module", _compiled(target, shared, Options())), [*settings_of(target, PLAIN)]
    is_held = isinstance(target, HeldCell | HeldModel)
    for options in OPTIONS:
        few = [*settings_of(target, options.settings or FEW)]
        yield of_kernel(f"module with {options.words}", _compiled(target, shared, options), options), few
    if is_held:
        return
    for model in _models(target):
        yield from _of_model(model, shared, isinstance(target, Cell))
    if not isinstance(target, PairedCell | PairedModel):
        yield from loops_of(target.cell if isinstance(target, Model) else target)


def has_proved_loops(kernel: Kernel) -> bool:
    """Answer whether the loops that the C of a kernel is printed from are run over the field."""
    return kernel.in_c is not None and kernel.truncation is None and not isinstance(kernel, PairedKernel | HeldKernel)


def of_cell(kernel: Kernel) -> Kernel:
    """Return the module of a model as that of its cell."""
    return Kernel(kernel.cell, kernel.program, kernel.source, kernel.truncation, kernel.clip_adjoint, kernel.memory)


def _models(target: Cell | Model) -> Iterator[Model]:
    """Yield models with both places and both reductions: of a model all but its own, of a cell with a loss of all values."""
    is_pairs = isinstance(target, PairedCell | PairedModel)
    whole = target.whole if isinstance(target, PairedCell | PairedModel) else target
    cell, loss = (whole.cell, whole.loss) if isinstance(whole, Model) else (whole, general_loss(whole))
    own = (target.at, target.reduction) if isinstance(target, Model) else None
    for pair in (("every", "sum"), ("every", "mean"), ("last", "sum"), ("last", "mean")):
        if pair != own:
            model = Model(cell, loss, *pair)
            yield real_pairs(model) if is_pairs else model


def _of_model(model: Model, shared: Shared, is_alone: bool) -> Iterator[tuple[Subject, list[Setting]]]:
    """Yield the modules of a model: plain, and of a cell that stands for all its models, with the options that a loss meets."""
    words = f"loss at {'every step' if model.at == 'every' else 'the last step'}, {model.reduction}"
    few = [*settings_of(model, FEW)]
    yield of_kernel(words, _compiled(model, shared, Options())), few
    for options in OPTIONS if is_alone and model.reduction == "sum" else ():
        if options.clip_adjoint is None and (options.memory, options.truncation) in OF_LOSSES[model.at]:
            yield of_kernel(f"{words}, {options.words}", _compiled(model, shared, options), options), few


OF_LOSSES: dict[str, tuple[tuple[Any, Any], ...]] = {
    "every": (("sqrt", None), (BYTES, None), ("all", Window(2)), ("all", Chunked(2, 3))),
    "last": (("sqrt", None), ("all", Window(2))),
}
"""Options that change how a loss is trained with, by its place."""


def _compiled(target: Cell | Model, shared: Shared, options: Options) -> Kernel:
    """Return the kernel of a target; of one that is pairs of real numbers that of the complex one, which takes and gives their parts, and
    of one whose contexts are states that of the one with contexts."""
    is_held = isinstance(target, HeldCell | HeldModel)
    whole = target.whole if isinstance(target, PairedCell | PairedModel | HeldCell | HeldModel) else target
    found = compiled(whole, shared, None, options.truncation, options.clip_adjoint, options.memory)
    return found if whole is target else HeldKernel(found) if is_held else PairedKernel(found)


def of_kernel(words: str, kernel: Kernel, options: Options | None = None) -> Subject:
    """Return the module of a kernel; with options, in the pieces that these name."""

    def on_elements(setting: Setting) -> Run:
        other = over_field(kernel, setting.blocks)
        piece = options.piece if options else None
        if piece is not None:
            vars(other.module)["_pieces"] = lambda call, end, trains: (max(min(piece[0], end), 1), piece[1])
        return _runner(other, setting)

    def on_floats(setting: Setting) -> Run:
        other = in_blocks(kernel, setting.blocks)
        # What a module computes again where a function saturates is computed again wherever it is true, as over the field; and
        # what nobody has written is no reason to compute it in another way.
        vars(other.module).update({k: sharpened for k in ("_sharpened",) if hasattr(other.module, k)}, np=Trusting())
        return _runner(other, setting)

    return Subject(words, kernel.target, kernel.truncation, on_elements, on_floats)


def _runner(kernel: Kernel, setting: Setting) -> Run:
    def run(point: Point, sent: Arrays) -> Found:
        params = {k: v for k, v in point.params.items() if k in kernel.module.SHAPES}
        params |= _unread(kernel, point)
        common: dict[str, Any] = {"steps": point.steps, **point.masks}
        found: Grads
        if isinstance(kernel.target, Model):
            loss, found = kernel.value_and_grad(
                params, point.inputs, point.targets, point.state, monitor=setting.monitor, **common
            )
            values: Arrays = {"loss": loss}
        else:
            first = kernel.forward(params, point.inputs, point.state, **common)
            values, found = first.states | first.outputs, kernel.backward(first, sent, monitor=setting.monitor)
            values = values | {label(k): norms for k, norms in (found.flow or {}).items()}
        groups = (("params", found.params), ("inputs", found.inputs), ("state", found.state))
        return values, {(group, name): v for group, arrays in groups for name, v in arrays.items()}

    return run


def _unread(kernel: Kernel, point: Point) -> Arrays:
    """Return zeros for the parameters of a loss, which a module takes, and which its sweeps do not read."""
    module = kernel.module
    lacking = [k for k in module.PARAMS if k not in point.params]
    if not lacking:
        return {}
    given = {**point.params, **point.inputs, **point.state}
    axes = {
        k: np.shape(v)[np.ndim(v) - len(module.SHAPES[k].split()) :] for k, v in given.items() if k in module.SHAPES
    }
    known = {name: n for k, shape in axes.items() for name, n in zip(module.SHAPES[k].split(), shape, strict=True)}
    names = module._shapes.__code__.co_varnames[: module._shapes.__code__.co_argcount]
    shapes = module._shapes(**{name: known.get(name, 1) for name in names})
    return {k: np.zeros(shapes[k]) for k in lacking}


def loops_of(cell: Cell) -> Iterator[tuple[Subject, list[Setting]]]:
    """Yield the loops of a cell as derived, behind each pass alone, and behind all passes."""
    recursion = derive(in_loops(cell.looped))
    alone = [(f"behind the pass {p.__name__}", (p, place)) for p in PASSES if p is not place]
    named: list[tuple[str, tuple[Any, ...]]] = [("as derived", (place,)), *alone, ("behind all passes", PASSES)]
    for words, passes in named:
        whole = words in ("as derived", "behind all passes")
        yield of_loops(f"loops {words}", cell, program_of(recursion), passes), [*(LOOPS if whole else LOOPS[1:])]


def of_loops_in_c(kernel: Kernel) -> Subject:
    """Return the loops that a kernel in C is printed from."""
    assert kernel.in_c is not None
    pair, cell = loops_of_c(kernel.in_c.program), kernel.cell
    return Subject(
        f"{LOOPS_OF}that its C is printed from",
        cell,
        None,
        lambda setting: lambda point, sent: run_over_field(pair, cell, point, sent, setting.blocks.steps),
        lambda setting: lambda point, sent: run_in_floats(pair, cell, point, sent, setting.blocks.steps),
    )


def of_loops(words: str, cell: Cell, program: Any, passes: Any) -> Subject:
    """Return the loops of a cell behind some passes."""
    found = lowered(program, passes, True)

    def on_elements(setting: Setting) -> Run:
        return lambda point, sent: run_loops(found, cell, point, sent, 2, arithmetic())

    def on_floats(setting: Setting) -> Run:
        # Loops are lowered with a limit of 1, which acts on floats, and on no element of a field.
        unclipped = replace(floats(), runtime=UNCLIPPED)
        return lambda point, sent: run_loops(found, cell, point, sent, 2, unclipped)

    return Subject(words, cell, None, on_elements, on_floats)
