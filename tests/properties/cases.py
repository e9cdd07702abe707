"""Random cells over the whole language, from a seed: the file of a user's, with sizes, and the way in which it is called."""

import linecache
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.commands.load_target import load_target
from tests.properties.grammar import NAMES, tree_of
from tests.properties.terms import Dims, Tree
from tests.tape import Tape, elementwise


@dataclass(frozen=True)
class Options:
    """How a kernel is compiled and called: the options of `compile`, blocks of steps and windows of scans in place of those that a
    cache gives (0: as they are), masks, which cotangents are given, the place and the reduction of a loss."""

    memory: str = "all"
    truncation: str = ""
    clip: bool = False
    block: int = 0
    window: int = 2
    masks: str = ""
    cotangents: str = "all"
    monitor: bool = False
    at: str = "every"
    reduction: str = "sum"

    def __str__(self) -> str:
        default = Options()
        changed = {k: v for k, v in vars(self).items() if v != getattr(default, k)}
        return ", ".join(f"{k}={v!r}" for k, v in changed.items()) or "none"

    @property
    def cut(self) -> Any:
        """The truncation itself."""
        return eval(f"sb.{self.truncation}", {"sb": sb}) if self.truncation else None


CHOICES: dict[str, tuple[Any, ...]] = {
    "memory": ("all", "all", "sqrt", "sqrt", "least", "more"),
    "truncation": ("", "", "", "", *(f"Window({k})" for k in (1, 2, 3, 30)), "Chunked(1, 1)", "Chunked(1, 3)", "Chunked(2, 3)", "Chunked(3, 2)", "Chunked(2, 2)", "Chunked(7, 9)"),
    "clip": (False,) * 7 + (True,),
    "block": (0, 1, 2, 2, 3, 5),
    "window": (0, 2, 2, 4, 8),
    "masks": ("", "", "", "lengths", "reset", "both", "both"),
    "cotangents": ("all", "all", "all", "states", "outputs", "last", "ends", "one", "one last", "one last and outputs"),
    "monitor": (False, False, True),
    "at": ("every", "every", "last"),
    "reduction": ("sum", "mean"),
}  # fmt: skip
STEPS = (0, 1, 2, 3, 5, 5, 5, 8, 8, 12)


@dataclass(frozen=True)
class Case:
    """A cell with a loss, sizes, numbers of steps and samples, options, and the seed that all comes from."""

    seed: int
    tree: Tree | None
    sizes: dict[str, int] = field(hash=False)
    steps: int
    batch: int
    options: Options = Options()
    own: str = ""
    """The text of the file, where there is no tree."""

    @property
    def file(self) -> str:
        return self.tree.file if self.tree else self.own

    def __repr__(self) -> str:
        sizes = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        return f"# seed {self.seed}: {sizes}, T={self.steps}, B={self.batch}; options: {self.options}\n{self.file}"

    def size(self, dims: Dims) -> tuple[int, ...]:
        """A shape in numbers."""
        return tuple(int(eval(dim, {}, self.sizes)) for dim in dims)


def case_of(seed: int, longest: int = 6) -> Case:
    """The case of a seed."""
    random = Random(seed)

    def draw(options: Any) -> Any:
        return options[random.randrange(len(options))]

    tree = tree_of(random, longest)
    sizes = {name: draw((1, 2, 2, 3, 4)) for name in NAMES}
    steps, batch = draw(STEPS), draw((1, 2, 2, 3, 5))
    # Half of the cells are called without options, so that one that fails for another reason is seen plainly.
    options = (
        Options(**{k: draw(v) for k, v in CHOICES.items()})
        if draw((False, True, True))
        else Options(block=draw((0, 2, 3)))
    )
    options = possible(options)
    tree = renamed(tree) if draw(range(10)) == 0 else tree
    return Case(seed, tree, sizes, steps, batch, options)


def possible(options: Options) -> Options:
    """The options without those that `compile` refuses together."""
    options = replace(options, memory="all") if options.truncation else options
    return replace(options, clip=False) if options.truncation.startswith("Window") else options


LONG_NAMES = {
    "s0": "membrane_potential_of_cells",
    "p0": "recurrent_weights_of_the_layer",
    "x": "observation_before_the_step",
}
"""Lines of generated modules that must be broken."""


def renamed(tree: Tree) -> Tree:
    """The tree with long names."""
    for short, name in LONG_NAMES.items():

        def of(pairs: Any) -> Any:
            return tuple((name if k == short else k, v.renamed(short, name)) for k, v in pairs)  # noqa: B023

        def named(arguments: Any) -> Any:
            return tuple(replace(a, name=name) if a.name == short else a for a in arguments)  # noqa: B023

        statements = tuple(
            replace(s, value=s.value.renamed(short, name), body=s.body and s.body.renamed(short, name))
            for s in tree.statements
        )
        tree = replace(tree, arguments=named(tree.arguments), statements=statements, following=of(tree.following), outputs=of(tree.outputs),
                       loss_arguments=named(tree.loss_arguments), loss=tree.loss.renamed(short, name))  # fmt: skip
    return tree


# Functions of the user's own, each with what the tape takes for it, written by hand.


def _sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


ON_TAPES = {
    "swish": elementwise(lambda v: v * _sigmoid(3 * v), lambda v: _sigmoid(3 * v) * (1 + 3 * v * (1 - _sigmoid(3 * v)))),
    "spike": elementwise(lambda v: (v > 0) * np.ones_like(v), lambda v: 1 / (1 + 2 * np.abs(v)) ** 2),
    "blend": elementwise(
        lambda a, b: np.sin(a) * b + np.exp(-b * b), lambda a, b: np.cos(a) * b, lambda a, b: np.sin(a) - 2 * b * np.exp(-b * b)
    ),
}  # fmt: skip


def either(library: Any, own: Any) -> Any:
    """A function that takes its own way on tapes."""
    return lambda *args: (own if any(isinstance(a, Tape) for a in args) else library)(*args)


def functions_of(case: Case) -> tuple[sb.Cell, sb.Loss]:
    """The cell and the loss of a case, from its file as the command line loads it; tracebacks show its lines."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"cell_of_seed_{case.seed}.py")
        path.write_text(case.file, encoding="utf-8")
        cell = load_target(f"{path}:step")
        linecache.cache[str(path)] = (len(case.file), None, case.file.splitlines(keepends=True), str(path))
    names = cell.function.__globals__
    names.update({name: either(names[name], own) for name, own in ON_TAPES.items() if name in names})
    return cell, names.get("error")  # type: ignore[return-value]


HEAD = "import numpy as np\nimport sympy as sp\n\nimport symbptt as sb\nfrom symbptt import Const, Index, Input, Output, Param, State, Target\n\n\n"


def case_of_text(
    text: str, sizes: dict[str, int], steps: int, batch: int, options: Options = Options(), seed: int = 0
) -> Case:
    """A case of functions that are written by hand, `step` and perhaps `error`."""
    text = text.strip().replace("def step(", "@sb.cell\ndef step(").replace("def error(", "\n@sb.loss\ndef error(")
    return Case(seed, None, sizes, steps, batch, options, f"{HEAD}{text}\n")
