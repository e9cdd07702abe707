"""An idiom of the table as a cell: traced, its graph evaluated node by node, and the user's function beside it on plain arrays."""

import ast
import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.special

import symbptt as sb
from symbptt.autodiff.bptt import derive
from symbptt.ir.graph import Graph
from symbptt.language.roles import Annotation
from tests.evaluate import number_of, one
from tests.spellings import table

SIZES = {"n": 5, "m": 3}
ARGUMENTS = {
    "x": ("input", "m"), "i": ("index", "", "n"), "j": ("index", "3", "n"), "h": ("state", "n"), "p": ("param", "n"), "q": ("param", "n"), "W": ("param", "n m"),
    "U": ("param", "n n"), "A": ("param", "3 4"), "S": ("param", "3 3"), "C": ("param", "2 3 4"), "v": ("param", "5"),
    "w": ("param", "3"), "s": ("param", ""),
}  # fmt: skip
KNOWN = {"np": np, "sb": sb, "copy": copy, "math": math, "scipy": scipy, "special": scipy.special, "__name__": __name__}
LINKS = scipy.sparse.csr_array(np.diag([1.0, -2.0, 0.5, 0.0], 1) + np.diag([3.0, 0.0], -3))
KNOWN |= {"LINKS": LINKS, "eye": np.eye, "zeros": np.zeros}
PLACES = (3, np.array([2, 3, 2]))
GROUPS = ("ELEMENTWISE", "LOGIC", "REDUCTIONS", "PRODUCTS", "SHAPES", "INDEXING", "TOKENS", "SCIPY")


@dataclass(frozen=True)
class Idiom:
    """A line of the table: the body of a cell, and what its refusal says to write, or nothing where it works; `?`: either."""

    text: str
    cure: str

    @cached_property
    def function(self) -> Any:
        """The body as a function of the letters that it reads."""
        *before, value = ast.parse("\n".join(part.strip() for part in self.text.split(";"))).body
        names = [node.id for part in (*before, value) for node in ast.walk(part) if isinstance(node, ast.Name)]
        taken = [name for name in ARGUMENTS if name in names or name == "h"]
        head = f"def idiom({', '.join(taken)}):\n"
        lines = [*map(ast.unparse, before), f"return {{'h': h, 'y': {ast.unparse(value)}}}"]
        space: dict[str, Any] = dict(KNOWN)
        exec(head + "".join(f"    {line}\n" for line in lines), space)
        found = space["idiom"]
        found.__annotations__ = {name: Annotation(*ARGUMENTS[name]) for name in taken}
        return found

    @cached_property
    def cell(self) -> sb.Cell:
        return sb.cell(self.function)

    def numbers(self, seed: int = 0) -> dict[str, Any]:
        """Numbers for its arguments, by name."""
        random = np.random.default_rng(seed)
        found: dict[str, Any] = {}
        for a in self.cell.arguments:
            shape = tuple(number_of(size, SIZES) for size in a.shape)
            found[a.name] = random.uniform(*((0.2, 0.9) if a.name == "p" else (-1.5, 1.5)), shape)
            found[a.name] = PLACES[len(a.shape)] if a.role == "index" else found[a.name][()]
        return found


def idioms() -> list[Idiom]:
    """Every line of the table."""
    lines = [line for group in GROUPS for line in getattr(table, group).splitlines() if line]
    return [Idiom(line[:-2], "?") if line.endswith(" ?") else Idiom(*f"{line} ! ".split(" ! ")[:2]) for line in lines]


def evaluated(g: Graph, leaves: dict[str, Any]) -> list[Any]:
    """The value of each node of a graph, for one sample and one step."""
    found: list[Any] = []
    for node in g:
        match node.family:
            case "leaf" if node.attrs.role == "size":
                found.append(float(eval(node.attrs.name, {}, dict(SIZES))))
            case "leaf" if node.attrs.role == "eye":
                found.append(np.eye(number_of(node.shape[0], SIZES)))
            case "leaf":
                found.append(leaves[f"d{node.attrs.name}" if node.attrs.role == "adjoint" else node.attrs.name])
            case "total":
                found.append(found[node.args[0]])
            case _:
                found.append(one(node, [found[arg] for arg in node.args], SIZES))
    return found


def own(idiom: Idiom, numbers: dict[str, Any]) -> Any:
    """The value of the user's function on arrays of its own."""
    copies = {k: np.copy(v)[()] if np.ndim(v) else v for k, v in numbers.items()}
    return np.asarray(idiom.function(**copies)["y"], float)


def traced(idiom: Idiom, numbers: dict[str, Any], sent: Any) -> tuple[Any, dict[str, Any]]:
    """The value of the traced graph, and what flows back to each argument."""
    recursion = derive(idiom.cell.step)
    zero = {f"d{k}": np.zeros(np.shape(v)) for k, v in numbers.items()}
    values = evaluated(recursion.graph, {**numbers, **zero, "dy": sent})
    found = {**recursion.recurrent, **recursion.inputs, **recursion.params}
    return values[recursion.step.outputs["y"]], {name: values[id] for name, id in found.items()}


WEIGHTS = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
"""Of central differences of the sixth order."""


def slope(idiom: Idiom, numbers: dict[str, Any], along: dict[str, Any], sent: Any, width: float = 1e-3) -> float:
    """The derivative of <sent, y> along a direction by central differences of the user's function."""

    def at(k: int) -> float:
        moved = {name: v + k * width * along[name] if name in along else v for name, v in numbers.items()}
        return float(np.sum(sent * own(idiom, moved)))

    return sum(weight * (at(k) - at(-k)) for k, weight in WEIGHTS.items()) / width


def misfit(idiom: Idiom, seed: int = 0) -> str:
    """What differs between an idiom and its trace: its shape, its value or its gradient; nothing where they agree."""
    numbers, random = idiom.numbers(seed), np.random.default_rng(seed + 1)
    assert idiom.cell.step
    with np.errstate(all="ignore"):
        wanted = own(idiom, numbers)
        sent = random.standard_normal(wanted.shape)
        value, gradients = traced(idiom, numbers, sent)
        if np.shape(value) != wanted.shape:
            return f"shape {np.shape(value)}, not {wanted.shape}"
        if not np.allclose(value, wanted, rtol=1e-12, atol=1e-13):
            return f"value {value}, not {wanted}"
        along = {k: random.standard_normal(np.shape(v)) for k, v in numbers.items() if k not in ("i", "j")}
        by_rules = sum(float(np.sum(along[k] * gradient)) for k, gradient in gradients.items())
        by_differences = slope(idiom, numbers, along, sent)
    if not abs(by_rules - by_differences) < 1e-8 * (1 + abs(by_differences)):
        return f"slope {by_rules}, not {by_differences}"
    return ""
