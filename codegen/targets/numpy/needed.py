"""The function of a module with checkpoints that returns the bytes of its calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

import sympy as sp

from symbptt.codegen.loop_ir.nodes import BATCH, STEPS
from symbptt.codegen.lower.loss import lower_loss
from symbptt.codegen.memory.account import BUFFER, ITEM, LARGE, Letters, Sum
from symbptt.codegen.memory.needed import OBJECTS, Most, most
from symbptt.codegen.memory.runs import PIECE, Call, Functions
from symbptt.codegen.program.head import Head
from symbptt.codegen.runtime.scan import WINDOW
from symbptt.codegen.targets.numpy.cells import Sweeps
from symbptt.codegen.targets.numpy.forms import Forms
from symbptt.codegen.targets.numpy.names import RESERVED
from symbptt.codegen.targets.numpy.passes import ready
from symbptt.codegen.targets.python.text import listed, name_tuple, size_text, tuple_text
from symbptt.codegen.targets.python.wrap import wrapped
from symbptt.ir.shape import named_size

MASKS = ((False, False), (False, True), (True, True))
"""The kinds of masks of a call: none; resets alone; lengths, with resets or without."""
HEAD = (
    "def _needed(steps, T, B, item, sizes, trains, masks):",
    '    """Return the bytes that a call holds beside its arguments where a piece has so many steps: in training, or in a run',
    '    and the way back; `masks`: none (0), resets (1), lengths (2). Each sum is what lives at one place."""',
)
OWN = {PIECE: "steps", STEPS: "T", BATCH: "B", ITEM: "item"}
"""The parameters of that function which are sizes."""
WIDTH = 114
USED = {*OWN.values(), "sizes", "trains", "masks", "k", "size", "min", "max", "_steps"}

Names = Mapping[sp.Symbol, sp.Symbol]
"""The variables of sizes and letters in that function."""


def functions_of(s: Sweeps, head: Head | None = None, at_every: bool = False) -> Functions:
    """Return the functions of a module whose memory and work are counted: as they are printed."""
    loss = None if head is None else ready(lower_loss(head.program, at_every, RESERVED))
    return Functions(s.forward, s.back, frozenset(s.tape), Forms, loss, at_every)


def needed_text(f: Functions, sizes: Sequence[str]) -> str:
    """Return the text of that function; `sizes` are the named sizes."""
    letters, kinds = Letters(), (True, False) if f.loss is not None else (False,)
    calls = [(trains, masks) for trains in kinds for masks in range(len(MASKS))]
    found = [most(f, Call(trains, *MASKS[masks], pieces=2), letters) for trains, masks in calls]
    scanned = {
        trains: most(f, Call(trains, pieces=2, scans=True), letters)
        for (trains, masks), case in zip(calls, found, strict=True)
        if case.scans and masks == 0
    }
    names = _names(sizes, letters)
    lines = [*_unpacked([str(names[named_size(name)]) for name in sizes], sizes), *_letters(letters, names)]
    for trains, scan in scanned.items():
        lines += _returned(f"{_case(trains, 0, kinds)} and {_scans(scan, names)}", scan, names)
    for (trains, masks), case in zip(calls, found, strict=True):
        lines += _returned(_case(trains, masks, kinds), case, names)
    return "\n".join([*HEAD, *(f"    {line}" for line in lines)])


def _unpacked(targets: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the line that takes variables out of the sizes, or none where there are no keys."""
    if len(keys) == 1:
        return [f'{targets[0]} = sizes["{keys[0]}"]']
    return [f"{listed(targets)} = (sizes[k] for k in {name_tuple(keys)})"] if keys else []


def _names(sizes: Sequence[str], letters: Letters) -> dict[sp.Symbol, sp.Symbol]:
    """Return the variables of all sizes; those of named ones go before letters."""
    found, used = {symbol: sp.Symbol(name) for symbol, name in OWN.items()}, {*USED}
    groups = letters.levels, letters.blocks, letters.buffers
    for symbol in [*map(named_size, sizes), *(letter for group in groups for letter in group.values())]:
        name = symbol.name
        while name in used:
            name += "_"
        used.add(name)
        found[symbol] = sp.Symbol(name)
    return found


def _letters(letters: Letters, names: Names) -> list[str]:
    """Return the lines that give letters their values."""
    lines = [
        f"{names[letter]} = _steps({', '.join(_size(x, names) for x in numbers)})"
        for numbers, letter in letters.blocks.items()
    ]
    for (steps, states), letter in letters.levels.items():
        window = f"{WINDOW} // {_most(['1', *(_size(x, names) for x in states)])}"
        lines.append(f"{names[letter]} = min(steps, {window}).bit_length() * (1 + ({_size(steps, names)} < steps))")
    variables = listed(str(names[letter]) for letter in letters.buffers.values())
    sizes = tuple_text(_size(size, names) for size in letters.buffers)
    lines += [f"{variables} = (min({BUFFER}, size) for size in {sizes})"] * bool(letters.buffers)
    return [short for line in lines for short in wrapped(line)]


def _case(trains: bool, masks: int, kinds: Sequence[bool]) -> str:
    """Return the condition of a kind of call."""
    which = ["trains" if trains else "not trains"] * (len(kinds) > 1)
    return " and ".join([*which, f"masks == {masks}"])


def _scans(case: Most, names: Names) -> str:
    """Return the condition under which steps are scanned: the largest state decides."""
    return " and ".join(
        f"0 < {_size(size, names)} <= {WINDOW // least} and {least} <= steps"
        for least, size in dict.fromkeys(case.scans)
    )


def _returned(condition: str, case: Most, names: Names) -> list[str]:
    """Return the lines that return the bytes of a call: the terms that all sums have in common, and the maximum of the
    rest."""
    every = [*case.sums, *(x for more in case.small.values() for x in more)]
    # max(a + c, b + c) = c + max(a, b), which makes the formula short.
    common = {product: min(x.get(product, 0) for x in every) for product in every[0]}
    texts = [_sum(x, common, names) for x in case.sums]
    for size, more in case.small.items():
        rest = _most([_sum(x, common, names) for x in more])
        # Below LARGE NumPy allocates a temporary that it elides above it: the factor is 0 or 1.
        texts.append(f"({rest}) * ({_size(size, names)} < {LARGE})")
    both = _filled(f"+ {_sum(common, {}, names)}", 8)
    sums = [line for text in texts for line in _filled(f"{text},", 12)]
    head = [*wrapped(f"if {condition}:"), "    return (", f"        {OBJECTS}"]
    return [*head, *both, "        + max(", *sums, "            0,", "        )", "    )"]


def _filled(text: str, indent: int) -> list[str]:
    """Return a text within brackets in lines that are not long."""
    return fill(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 4)).splitlines()


def _most(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"


def _sum(x: Sum, common: Sum, names: Names) -> str:
    """Return a sum without its common terms, with the numbers of arrays together."""
    rest = {product: factor - common.get(product, 0) for product, factor in x.items()}
    numbers = [
        _times(product / ITEM, factor, names) for product, factor in rest.items() if factor and product.has(ITEM)
    ]
    others = [_times(product, factor, names) for product, factor in rest.items() if factor and not product.has(ITEM)]
    return " + ".join([*[f"item * ({_ordered(numbers)})"] * bool(numbers), *[_ordered(others)] * bool(others)]) or "0"


def _ordered(texts: Iterable[str]) -> str:
    # Products of many sizes come first.
    return " + ".join(sorted(texts, key=lambda text: (-text.count("*"), text.lstrip("0123456789*"))))


def _times(product: Any, factor: int, names: Names) -> str:
    return _size(factor * product, names)


def _size(x: Any, names: Names) -> str:
    return size_text(sp.sympify(x).xreplace(names))
