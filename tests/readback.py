"""A printed page read back: each line evaluates to what the kernel computes."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

import symbptt as sb
from symbptt.ir.shape import named_size, names_in
from symbptt.language.init import concrete
from tests import brute, latex_page
from tests.convolution_page import convolutions_of
from tests.kernels import kernel_of
from tests.page import Page, column, constants_of, families_of, sections_of, symbol_of
from tests.properties.cases import case_of, functions_of

STEPS = 4
SIZES = {"m": 3, "n": 5, "d": 7, "k": 2, "v": 11, "a": 13, "p": 6, "s": 4, "e": 9, "r": 8, "q": 10}
"""Pairwise different, so that what is turned or flattened by mistake does not fit."""


def sizes_of(target: sb.Cell | sb.Model) -> dict[str, int]:
    names = {name for a in target.arguments for name in names_in(a.shape)}
    return {name: SIZES.get(name, 3) for name in sorted(names)}


@lru_cache(1)
def random_targets(seed: int) -> tuple[sb.Cell, sb.Model]:
    """A random cell and a model of it, for all pages of a seed that are read one after the other."""
    cell, loss = functions_of(case_of(seed))
    return cell, sb.model(cell, loss, at=("every", "last")[seed % 2], reduction=("sum", "mean")[seed // 2 % 2])


Sections = dict[str, list[str]]


class Spelt(dict[str, str]):
    """What a page calls the names of the user; others as they are."""

    def __missing__(self, name: str) -> str:
        return name


Read = tuple[Sections, Spelt, dict[str, list[str]], dict[str, Any]]
Printed = Callable[[sb.Derivation], Read]
"""A page in one of its forms: its lines by their headings, in plain text; what its names are; the families of its letters;
its constant arrays."""


def as_text(style: str) -> Printed:
    def read(d: sb.Derivation) -> Read:
        names = {named.name: symbol_of(named.text).name for named in d.symbols}
        assert len(set(names.values())) == len(names), f"two names are written alike: {names}"
        text = d.text(style=style)
        return sections_of(text), Spelt(names), families_of(text), constants_of(text)

    return read


def as_latex(d: sb.Derivation) -> Read:
    return read_latex(d, d.latex("loop"))


def as_latex_textbook(d: sb.Derivation) -> Read:
    return read_latex(d, d.latex("textbook"))


def read_latex(d: sb.Derivation, latex: str) -> Read:
    own = {named.latex for named in d.symbols}  # constants of the user have their values already
    constants = {shown: value for shown, value in latex_page.constants_of(latex).items() if shown not in own}
    sizes = {x: _of_page(x, d.target) for x in sizes_of(d.target)}
    # A value and a size of one name have names of their own here; a value with a time is told from a size by that.
    cell = d.target.cell if isinstance(d.target, sb.Model) else d.target
    timed = {a.name for a in cell.arguments if a.role in ("input", "state")}
    shown = {named.name: f"{named.name}_" for named in d.symbols if named.name in sizes and named.name not in timed}
    given = {shown.get(named.name, named.name): named.latex for named in d.symbols} | {
        f"constant{i}": name for i, name in enumerate(constants)
    }
    given |= {shown: rf"\mathsf{{{x}}}" for x, shown in sizes.items() if shown != x}
    names = latex_page.names_of(given, d.mark)
    found = latex_page.sections_of(latex, names)
    # The number of a round, below a value, may be a size that is written apart.
    sections = {
        heading: [re.sub(r"\\mathsf \{(\w)\}", r"\1_", line) for line in lines] for heading, lines in found.items()
    }
    left = [
        line.partition(" = ")[0] for lines in sections.values() for line in lines if " = " in line and "+=" not in line
    ]
    left = [line for line in left if " for " not in line]
    assert len(left) == len(set(left)), f"left sides are alike: {left}"
    return sections, Spelt(shown), {}, {f"constant{i}": column(value) for i, value in enumerate(constants.values())}


def complexified(target: sb.Cell | sb.Model, data: brute.Data) -> None:
    """Give complex arguments imaginary parts."""
    are_complex = {a.name for a in target.arguments if a.complex}
    for arrays in (data.params, data.inputs, data.state):
        arrays.update(
            {k: v + 0.6j * v[::-1] if v.ndim else v * (1 + 0.6j) for k, v in arrays.items() if k in are_complex}
        )


def begun(target: sb.Cell | sb.Model, data: brute.Data, sizes: dict[str, int], names: Spelt | None = None) -> Page:
    """A page with what is given to it."""
    names = names or Spelt()
    cell = target if isinstance(target, sb.Cell) else target.cell
    bound = {named_size(k): n for k, n in sizes.items()}
    limits = {names[a.name]: concrete((a.limit,), bound)[0] for a in target.arguments if a.limit is not None}
    page = Page({_of_page(k, target): n for k, n in sizes.items()}, data.steps, limits=limits)
    consts = cell.arguments if isinstance(target, sb.Cell) else (*cell.arguments, *target.loss.arguments)
    page.once |= {names[a.name]: np.broadcast_to(a.default, concrete(a.shape, bound)) for a in consts
                  if a.role == "const" and a.default is not None}  # fmt: skip
    page.once |= {names[name]: value for name, value in data.params.items()}
    for name, value in data.inputs.items():
        page.timed[names[name]] = {t + 1: v[0] for t, v in enumerate(value)}
    for name, value in data.state.items():
        page.timed[names[name]] = {0: value[0]}
    return page


def _of_page(size: str, target: sb.Cell | sb.Model) -> str:
    """A size as text has it: the step is t, the number of steps T, the loss of a model L."""
    taken = ("t", "T", "L") if isinstance(target, sb.Model) else ("t", "T")
    return f"{size}_" if size in taken else size


def worked_back(page: Page, sections: dict[str, list[str]]) -> None:
    """Work through the backward equations; a state has the adjoint of the last step, an output that of each."""
    back = range(page.steps, 0, -1)
    for title, lines in sections.items():
        if title.startswith("Backward, "):
            page.section(lines, back)
    for title in (
        "Gradients of what is computed once",
        "Gradients of the parameters",
        "Gradients of the initial state",
    ):
        page.section(sections.get(title, []), range(1))
    page.section(sections.get("Gradients of the inputs", []), back)


def send(page: Page, cell: sb.Cell, mark: str, cotangents: dict[str, dict[int, Any]], names: Spelt) -> None:
    for name, given in cotangents.items():
        page.timed[f"dL/d{names[name]}"] = given
        is_output = name in cell.looped.outputs
        page.timed[f"{mark}{names[name]}"] = dict(given) if is_output else {page.steps: given[page.steps]}


def assert_read(cell: sb.Cell, sizes: dict[str, int], style: str = "textbook", printed: Printed | None = None,
                given: brute.Data | None = None) -> None:  # fmt: skip
    """The page of a cell is right on random numbers, or on those that are given."""
    data = given or brute.data_of(cell, STEPS, 1, sizes)
    kernel, d = kernel_of(cell), sb.derive(cell)
    run = kernel.forward(data.params, data.inputs, data.state, steps=STEPS)
    random = np.random.default_rng(3)
    cotangents = {k: random.standard_normal(v.shape) for k, v in (run.states | run.outputs).items()}
    cotangents |= {k: v + 1j * v[::-1] for k, v in cotangents.items() if np.iscomplexobj((run.states | run.outputs)[k])}
    sections, names, families, constants = (printed or as_text(style))(d)
    page = begun(cell, data, sizes, names)
    page.reader.families = families
    page.reader.convolutions = convolutions_of(d.text(style=style))
    page.once |= constants
    page.begin(sections)
    page.section(sections["Forward, t = 1, …, T"], range(1, STEPS + 1))
    send(
        page,
        cell,
        d.mark,
        {k: {0: np.zeros_like(v[0, 0])} | {t + 1: v[t, 0] for t in range(STEPS)} for k, v in cotangents.items()},
        names,
    )
    worked_back(page, sections)
    for name, value in (run.states | run.outputs).items():
        for t in range(STEPS):
            shown = names[name]
            close(
                f"{name} at {t + 1}", page.timed[shown][t + 1] if shown in page.timed else page.once[shown], value[t, 0]
            )
    assert_gradients(page, d.mark, kernel.backward(run, cotangents), names)


def assert_model_read(
    model: sb.Model, sizes: dict[str, int], style: str = "textbook", printed: Printed | None = None
) -> None:
    data = brute.data_of(model, STEPS, 1, sizes)
    kernel, d = kernel_of(model), sb.derive(model)
    loss, grads = kernel.value_and_grad(data.params, data.inputs, data.targets, data.state, steps=STEPS)
    sections, names, families, constants = (printed or as_text(style))(d)
    page = begun(model, data, sizes, names)
    page.reader.families = families
    page.reader.convolutions = convolutions_of(d.text(style=style))
    page.once |= constants
    page.begin(sections)
    every = model.at == "every"
    steps = range(1, STEPS + 1)
    page.once["N"] = np.asarray(float(STEPS if every else 1))
    for name, value in data.targets.items():
        page.timed[names[name]] = {t + 1: v[0] for t, v in enumerate(value)} if every else {STEPS: value[0]}
    page.section(sections["Forward, t = 1, …, T"], steps)
    of_loss = sections["Loss, t = 1, …, T" if every else "Loss, t = T"]
    (whole,) = [line for line in of_loss if line.split()[0] == "L"]
    lines = [line for line in of_loss if line != whole]
    page.section(lines, steps if every else range(STEPS, STEPS + 1))
    page.section([whole], range(1))
    close("the loss", page.once["L"], loss)
    page.section(sections["Backward from the loss"], range(STEPS, 0, -1))
    page.section(sections.get("Gradients of the loss's parameters", []), range(1))
    sent = {}
    for name, shape in {
        **{k: v.shape[1:] for k, v in data.state.items()},
        **dict.fromkeys(model.cell.looped.outputs),
    }.items():
        found = page.timed.get(f"dL/d{names[name]}", {})
        zero = np.zeros(shape) if shape is not None else 0.0 * page.printed(names[name])
        sent[name] = {t: zero + found.get(t, 0) for t in range(STEPS + 1)}  # a zero may be a zero vector
    send(page, model.cell, d.mark, sent, names)
    worked_back(page, sections)
    assert_gradients(page, d.mark, grads, names)


def assert_gradients(page: Page, mark: str, grads: Any, names: Spelt) -> None:
    for name, value in grads.params.items():
        close(f"gradient of {name}", page.once[mark + names[name]], value)
    for name, value in grads.inputs.items():
        for t in range(STEPS):
            close(f"gradient of {name} at {t + 1}", page.timed[mark + names[name]][t + 1], value[t, 0])
    for name, value in grads.state.items():
        close(f"gradient of {name} at the start", page.timed[mark + names[name]][0], value[0])


def close(what: str, got: Any, wanted: Any) -> None:
    got, wanted = np.squeeze(got), np.squeeze(wanted)
    got = got if got.ndim or got != 0 else np.zeros_like(wanted)
    assert got.shape == wanted.shape, f"{what}: {got.shape} is printed, {wanted.shape} is right"
    assert np.abs(got - wanted).max(initial=0) <= 1e-12 * max(1, np.abs(wanted).max(initial=0)), what
