"""The program that checks a file for one set of sizes by itself: its numbers, a value, and gradients of that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from symbptt.codegen.targets.c99.arena import Member
from symbptt.codegen.targets.c99.printer import broken


@dataclass(frozen=True)
class Filled:
    """An array that gets numbers: the struct that it is in, the pointer at which it begins, and the number of values of an index."""

    struct: str
    pointer: str
    member: Member
    limit: int | None = None

    @property
    def scale(self) -> float:
        """By what numbers are multiplied: a product with a matrix then has about the size of what is multiplied."""
        return 2 * self.member.shape[-1] ** -0.5 if len(self.member.shape) > 1 else 1.0


@dataclass(frozen=True)
class Checked:
    """An array whose gradient is checked: its name for a reader, and the pointers at which both begin."""

    name: str
    pointer: str
    slope: str
    count: int


@dataclass(frozen=True)
class SelfCheck:
    """What the program does: it fills arrays, calls functions in their order, and checks gradients of a value. That is what the last of
    the calls for a `value` leaves in `loss`, or the sum of the products of arrays, value by cotangent."""

    name: str
    params: str
    filled: tuple[Filled, ...]
    checked: tuple[Checked, ...]
    calls: tuple[str, ...]
    value: str
    loss: str
    products: tuple[tuple[str, str, int], ...]


def program(c: SelfCheck, reason: str, told: float) -> str:
    """Return the text of the program, which knows the value that is `told`; where there is a reason why differences tell nothing, that
    of an error."""
    if reason:
        return f'#ifdef SELFCHECK\n#error "{reason}"\n#endif'
    text = files(__package__).joinpath("selfcheck.h").read_text(encoding="utf-8").rstrip("\n")
    return "\n".join([text, "", *_params(c), *_value(c), "", *_main(c, told), "#endif"])


def _params(c: SelfCheck) -> list[str]:
    return [f"static {c.name}_params selfcheck_params;", ""] if c.params else []


def _value(c: SelfCheck) -> Iterator[str]:
    yield "static real selfcheck_value(void) {"
    yield f"    if ({c.name}_{c.value}({c.params})) return NAN;"
    if c.loss:
        yield f"    return {c.loss};"
    else:
        yield "    real sum = 0;"
        for value, cotangent, count in c.products:
            yield from broken(f"    sum += selfcheck_product({_reals(value)}, {_reals(cotangent)}, {count});")
        yield "    return sum;"
    yield "}"


def _main(c: SelfCheck, told: float) -> Iterator[str]:
    calls = " || ".join(f"{c.name}_{call}({c.params})" for call in c.calls)
    yield "int main(void) {"
    yield "    uint32_t from = 0;"
    yield "    for (int round = 0; round < 2; round++) {  // the first one leaves numbers behind, on which nothing may depend"
    for x in c.filled:
        count, to = x.member.count, _reals(x.pointer)
        if x.limit is None:
            yield from broken(f"        from = selfcheck_fill(from, {to}, {count}, (real){x.scale!r});")
        else:
            yield from broken(f"        from = selfcheck_choose(from, (void *){x.pointer}, {count}, {x.limit});")
    yield f"        if ({calls}) return 2;"
    yield "    }"
    yield "    const selfcheck_block blocks[] = {"
    yield from (f'        {{"{x.name}", {_reals(x.pointer)}, {_reals(x.slope)}, {x.count}}},' for x in c.checked)
    yield "    };"
    # No number, where the usual ones are none of the cell: others are chosen then, of which nothing is known.
    # Of twelve digits, so that the text is the same on any machine.
    known = f"(real){told:.12g}" if math.isfinite(told) else "NAN"
    yield f"    return selfcheck_all(blocks, sizeof blocks/sizeof *blocks, selfcheck_value, {known});"
    yield "}"


def _reals(pointer: str) -> str:
    """Return a pointer to an array of any axes as one that C takes for a pointer to numbers."""
    return f"(void *){pointer}"
