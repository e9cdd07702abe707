"""The letters of theorems: the whole state, the time and an earlier one, none of which a name or a size of the cell is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from symbptt.autodiff.labels import Label
from symbptt.equations.notation.names import Names, Used, names_of_page
from symbptt.ir.naming import free_letters
from symbptt.ir.shape import names_in
from symbptt.ir.step import Step

TIMES = {"t": ("t", ("t",)), "τ": (r"\tau", ("τ", "tau")), "υ": (r"\upsilon", ("υ", "upsilon"))}
"""The time, in LaTeX, and the names that read as that letter."""


@dataclass(frozen=True)
class Letters:
    """The letters of the whole state s, which is made of `states`, of the time t and of an earlier time k; `time_latex` is t in LaTeX."""

    state: str = "s"
    time: str = "t"
    start: str = "k"
    time_latex: str = "t"
    states: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """The whole state as a page writes it: the name of one that is alone, else its letter."""
        return self.states[0] if len(self.states) == 1 else self.state

    @property
    def meaning(self) -> str:
        """What the letter of the whole state stands for, as "s = (h, c)"; nothing where it is the name of one."""
        return f"{self.state} = ({', '.join(self.states)})" if len(self.states) > 1 else ""


def names_in_theorems(step: Step, labels: Iterable[Label]) -> Names:
    """Return how the names of values are written in theorems and reports: as on the page of equations, Δt for dt."""
    read = {a.name: "state" if a.role == "state" else "input" for a in step.arguments}
    used = {x.name: Used(x.name, "once" if x.time is None else read.get(x.name, "value")) for x in labels}
    used |= {name: Used(name, "state") for name in step.next}
    return names_of_page(used.values(), {"η"}, {name for a in step.arguments for name in names_in(a.shape)})


def letters_of(step: Step) -> Letters:
    """Return the letters of a theorem on a step: the usual ones, or the first that are not taken."""
    shapes = {name for a in step.arguments for name in names_in(a.shape)}
    taken = {*step.leaves, *step.next, *step.outputs, *step.graph.names.values(), *shapes}
    state = next(free_letters((*"syxqzuvw", "state"), taken))
    time = next((letter for letter, (_, names) in TIMES.items() if taken.isdisjoint(names)), "t")
    start = next(free_letters((*"kjlrqpuvwz", "k_0"), taken | {state}))
    return Letters(state, time, start, TIMES[time][0], tuple(step.next))
