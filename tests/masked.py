"""Pages of truncated gradients, of samples with lengths and of states that are reset, read back against the kernel.

Each sample has a page of its own; each window of a truncated page has adjoints of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import symbptt as sb
from tests import brute
from tests.convolution_page import convolutions_of
from tests.loops_page import HOLDS
from tests.page import RELATIONS, START, Page, Value, constants_of, families_of, sections_of, symbol_of
from tests.readback import Spelt, as_text, begun, close, complexified

ENTERING = re.compile(r"((?:[^\W_]|[\u0300-\u036f′])+)_(\{[^{}]*\})\^\{\((\w+)\)\}")
SUM = re.compile(r"Σ_\{(\w+): ([^{}]*)\} (.*?\^\{\(\w+\)\})")
BATCH = "T'"


@dataclass
class MaskedPage(Page):
    """A page with windows: the adjoints of each, by its last step."""

    windows: dict[int, MaskedPage] = field(default_factory=dict)
    ahead: tuple[str, ...] = ()
    like: MaskedPage | None = None

    def plain(self, text: str) -> str:
        """A line without what says of which window a value is; the state that enters a step has a name of its own."""
        text = ENTERING.sub(lambda m: m[0] if m[3] not in self.ahead else f"{m[1]}enter_{m[2]}", text)
        return re.sub(r"\^\{\(\w+\)\}", "", text).replace(BATCH, "Tall")

    def value(self, symbol: Any) -> Value:
        if symbol.name == "t" and symbol.time is None:
            return np.asarray(float(self.reader.at))
        return super().value(symbol)

    def one_line(self, text: str, at: int) -> None:
        text, _, when = self.plain(text).partition(" for t = ")
        if when and at != int(self.reader.read(when)):
            return
        super().one_line(text, at)

    def holds(self, condition: str, at: int) -> bool:
        first, *rest = re.split(r" ([<≤]) ", condition)
        self.reader.at = at
        values = [self.reader.read(x) for x in (first, *rest[1::2])]
        return all(RELATIONS[sign](a, b) for sign, a, b in zip(rest[::2], values[:-1], values[1:], strict=True))

    def total(self, text: str, at: int) -> None:
        """A sum over windows, or one for each round."""
        rounds = HOLDS.search(text)
        if rounds is None:
            self.one_total(text, at)
            return
        for k in range(self.reader.size(rounds["limit"])):
            self.reader.rounds.now[rounds["letter"]] = k
            self.one_total(HOLDS.sub("", text, count=1), at)
        self.reader.rounds.now.pop(rounds["letter"])

    def one_total(self, text: str, at: int) -> None:
        text, _, among = text.partition(" ∈ ")
        text, _, letter = text.rpartition(",  ") if among else (text, "", "")
        for member in among.strip().strip("{}").split(", ") if among else [""]:
            family = {letter: member} if among else {}
            left, _, right = text.strip().partition(" = ")
            match = SUM.match(right)
            assert match is not None, text
            self.reader.family = family
            symbol, which = self.of_round(symbol_of(left.strip()))
            names, start = [name + which for name in self.names(symbol)], symbol.time == START
            found: Any = 0.0
            for end, window in self.windows.items():
                self.once[match[1]] = np.asarray(float(end))
                if self.holds(match[2], at) and window.has(names, 0 if start else at):
                    window.reader.at, window.reader.family = at, family
                    found = found + window.reader.read(window.plain(match[3]))
            shapes = [0 * v for name in names for v in self.like.timed.get(name, {}).values()] if self.like else []
            found = shapes[0] + found if shapes else found  # of a step that no window has: zero, in its shape
            self.once.pop(match[1], None)
            rest = right[match.end() :].removeprefix(" + ")
            found = found + self.reader.read(rest) if rest else found
            for name in names:
                self.timed.setdefault(name, {})[0 if start else at] = np.asarray(found)
            self.reader.family = {}

    def takes_from(self, page: MaskedPage) -> None:
        """Take what a page knows of its own signs."""
        mine, other = self.reader, page.reader
        mine.families, mine.functions, mine.convolutions = other.families, other.functions, other.convolutions
        mine.rounds, self.starts = other.rounds, page.starts

    def has(self, names: list[str], at: int) -> bool:
        return any(at in self.timed.get(name, {}) for name in names)

    def behind(self, text: str, steps: int) -> None:
        """What cotangents behind the end add to that of the last step."""
        left, right = (part.strip() for part in text.split(" += Σ_{t > T} "))
        assert left.startswith("dL/d")
        symbol = symbol_of(left.removeprefix("dL/d"))
        series = self.timed[f"dL/d{symbol.name}"]
        for at in range(self.steps + 1, steps + 1):
            self.reader.at = at
            series[self.steps] = series[self.steps] + self.reader.read(right)


def ends_of(title: str, page: MaskedPage) -> tuple[str, list[int], str, str]:
    """The letter of windows, their last steps, and the steps of each, last and first."""
    match = re.fullmatch(r"Backward from each .*?(\w) = (.*?); t = (.*?)(?:, …, (max\(.*?\)|\w))?(?:; terms.*)?", title)
    assert match is not None, title
    letter, ends, last, first = match.groups()
    if ends == "1, …, T":
        return letter, list(range(1, page.steps + 1)), last, first or last
    chunk = re.fullmatch(r"(\d+), (\d+), … and (T'?)", ends)
    assert chunk is not None, ends
    every, end = int(chunk[1]), page.steps if chunk[3] == "T" else int(page.once["Tall"])
    assert int(chunk[2]) == 2 * every
    return letter, [*range(every, end, every), end] if end else [], last, first or last


def worked_windows(page: MaskedPage, title: str, lines: list[str], timed: dict[str, Any]) -> None:
    letter, ends, last, first = ends_of(title, page)

    def window_of(end: int, begin: int, until: int) -> MaskedPage:
        once = page.once | {letter: np.asarray(float(end))}
        window = MaskedPage(page.sizes, begin, once, dict(timed), limits=page.limits, ahead=page.ahead)
        window.takes_from(page)
        window.section(lines, range(begin, until - 1, -1))
        return window

    for end in ends:
        page.once[letter] = np.asarray(float(end))
        begin, until = (int(page.reader.read(page.plain(x))) for x in (last, first))
        page.once.pop(letter)
        page.windows[end] = window_of(end, begin, until)
    page.like = window_of(page.steps, page.steps, 1) if page.steps else page


def assert_masked(
    target: sb.Cell | sb.Model,
    sizes: dict[str, int],
    truncation: Any = None,
    lengths: Any = None,
    reset: Any = None,
    style: str = "textbook",
    steps: int = 5,
) -> None:
    """Every line of the page of each sample evaluates to what the kernel computes."""
    is_model, lead = (
        isinstance(target, sb.Model),
        lengths if lengths is not None else reset[0] if reset is not None else [0, 0],
    )
    batch = len(lead)
    lengths = None if lengths is None else np.array(lengths)
    data = brute.data_of(target, steps, batch, sizes, lengths=lengths, reset=reset)
    complexified(target, data)
    kernel = sb.compile(target, truncation=truncation)
    d = sb.derive(target, truncation=truncation, lengths=lengths is not None, reset=reset is not None)
    run = kernel.forward(data.params, data.inputs, data.state, steps=None if data.inputs else steps, **data.masks)
    values = run.states | run.outputs
    loss, cotangents = None, {}
    if is_model:
        loss, grads = brute.value_and_grad(kernel, data)
    else:
        random = np.random.default_rng(3)
        cotangents = {k: random.standard_normal(v.shape) for k, v in values.items()}
        cotangents |= {k: v + 1j * v[::-1] for k, v in cotangents.items() if np.iscomplexobj(values[k])}
        grads = kernel.backward(run, cotangents)
    text, names, found = d.text(style=style), as_text(style)(d)[1], []
    for b in range(batch):
        found.append(read_sample(target, d, text, names, data, b, sizes, cotangents))
    for b, (page, _) in enumerate(found):
        for name, value in values.items():
            for t in range(steps):
                got = page.timed[names[name]][t + 1] if names[name] in page.timed else page.once[names[name]]
                close(f"{name} at {t + 1} of sample {b}", got, value[t, b])
        for name, value in grads.inputs.items():
            for t in range(steps):
                close(f"gradient of {name} at {t + 1}", page.timed[d.mark + names[name]][t + 1], value[t, b])
        for name, value in grads.state.items():
            close(f"gradient of {name} at the start", page.timed[d.mark + names[name]][0], value[b])
    for name, value in grads.params.items():
        whole = sum(
            np.zeros(np.squeeze(value).shape) + np.squeeze(page.once[d.mark + names[name]])
            for page, own in found
            if own
        )
        close(f"gradient of {name}", whole, value)
    if is_model:
        close("the loss", sum(page.once["L"] for page, own in found if own), loss)


def read_sample(
    target: sb.Cell | sb.Model,
    d: Any,
    text: str,
    names: Spelt,
    data: Any,
    b: int,
    sizes: dict[str, int],
    cotangents: Any,
) -> tuple[MaskedPage, bool]:
    """The page of one sample, worked through; whether it has a step."""
    one = brute.Data(
        data.params,
        {k: v[:, b : b + 1] for k, v in data.inputs.items()},
        {k: v[b : b + 1] for k, v in data.state.items()},
        data.steps,
        1,
    )
    plain, length = begun(target, one, sizes, names), data.length(b)
    marks = re.findall(r"^  (\S+): 1 where the sample begins", text, re.MULTILINE)
    letters = tuple(symbol_of(mark).name for mark in marks)
    page = MaskedPage(plain.sizes, length, plain.once, plain.timed, limits=plain.limits, ahead=letters)
    page.once |= {"T": np.asarray(float(length)), "Tall": np.asarray(float(data.steps))}
    if letters:
        flags = {t + 1: np.asarray(float(data.reset[t, b])) for t in range(data.steps)} | {1: np.asarray(1.0)}
        page.timed[letters[0]] = flags
    sections = sections_of(text)
    page.reader.families, page.reader.convolutions = families_of(text), convolutions_of(text)
    page.once |= constants_of(text)
    page.begin(sections)
    steps = range(1, length + 1)
    page.section(sections["Forward, t = 1, …, T"], steps or range(1, 2))  # of an empty sample: for shapes alone
    shapes = {k: np.shape(page.timed[names[k]][1]) for k in (*stepped(target).next, *stepped(target).outputs)
              if names[k] in page.timed}  # fmt: skip
    sent = {
        k: {0: np.zeros(shapes[k])} | {t + 1: v[t, b].reshape(shapes[k]) for t in range(data.steps)}
        for k, v in cotangents.items()
    }
    if isinstance(target, sb.Model):
        sent = loss_of(target, page, sections, data, b, shapes, names)
    for name, given in sent.items():
        page.timed[f"dL/d{names[name]}"] = given
    for line in sections.get("Cotangents, which behind the end belong to the last step", []):
        page.behind(line, data.steps)
    primal = dict(page.timed)
    for title, lines in sections.items():
        if title.startswith("Backward from each "):
            worked_windows(page, title, lines, primal)
        elif title.startswith("Backward, "):
            for name, given in sent.items():
                is_output = name in stepped(target).outputs
                page.timed[f"{d.mark}{names[name]}"] = dict(given) if is_output else {length: given[length]}
            page.section(lines, reversed(steps))  # type: ignore[arg-type]
    for line in sections.get("Sums over the windows", []):
        for at in steps or range(1):
            page.total(line, at)
    if length:
        page.section(sections.get("Gradients of what is computed once", []), range(1))
        page.section(sections.get("Gradients of the parameters", []), range(1))
        page.section(sections.get("Gradients of the initial state", []), range(1))
        page.section(sections.get("Gradients of the inputs", []), reversed(steps))  # type: ignore[arg-type]
    else:
        started(page, sections, d.mark, [names[a.name] for a in stepped(target).of_role("state")])
    page.section(sections.get(f"Behind the end, t = T + 1, …, {BATCH}", []), range(length + 1, data.steps + 1))
    return page, length > 0


def started(page: MaskedPage, sections: dict[str, list[str]], mark: str, states: list[str]) -> None:
    """Of a sample without a step: what is sent to its initial states; all else on these lines is of step 1, and zero."""
    for line in sections.get("Gradients of the initial state", []):
        left, relation, right = re.split(r"\s+(\+?=)\s+", line.strip(), maxsplit=1)
        name = symbol_of(re.sub(r"^\((.*)\)_.*$", r"\1", left)).name
        if relation == "=" and name in {f"{mark}{state}" for state in states}:
            given = np.asarray(0.0)
            if right.startswith(("dL/d", "(dL/d")):
                given = page.timed[f"dL/d{name.removeprefix(mark)}"][0]
            page.timed[name] = {0: given}


def stepped(target: sb.Cell | sb.Model) -> Any:
    """The step of a cell, with its loops as such."""
    return (target.cell if isinstance(target, sb.Model) else target).looped


def loss_of(
    model: sb.Model, page: MaskedPage, sections: dict[str, list[str]], data: Any, b: int, shapes: Any, names: Spelt
) -> dict[str, dict[int, Any]]:
    every, length = model.at == "every", data.length(b)
    count = next((line.strip()[0] for line in sections.get("Legend", []) if ": how many" in line), "N")
    ends = [data.length(i) for i in range(data.batch)]
    page.once[count] = np.asarray(float(sum(ends) if every else sum(end > 0 for end in ends)))
    for name, value in data.targets.items():
        page.timed[names[name]] = {t + 1: v[b] for t, v in enumerate(value)} if every else {length: value[b]}
    *lines, whole = sections["Loss, t = 1, …, T" if every else "Loss, t = T"]
    zero = {name: dict.fromkeys(range(data.steps + 1), np.zeros(shape)) for name, shape in shapes.items()}
    if not length:
        return zero
    page.section(lines, range(1, length + 1) if every else range(length, length + 1))
    page.section([whole], range(1))
    page.section(sections["Backward from the loss"], range(length, 0, -1))
    page.section(sections.get("Gradients of the loss's parameters", []), range(1))
    for name, given in zero.items():
        found = page.timed.get(f"dL/d{names[name]}", {})
        zero[name] = {t: v + found.get(t, 0) for t, v in given.items()}
    return zero
