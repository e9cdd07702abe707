"""The value of a file in C for one set of sizes at the numbers of its check, by the interpreter of the loop IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbptt.codegen.loop_ir.arithmetics import floats
from symbptt.codegen.loop_ir.interpret import run
from symbptt.codegen.lower.sent import TOTAL
from symbptt.codegen.targets.c99.embedded import Subject
from symbptt.codegen.targets.c99.embedded_check import Filled

STRUCTS = {"param": "params", "const": "consts", "input": "inputs", "index": "inputs", "state": "start"}
"""The structs of the arguments of a cell, by role."""


def numbers(first: int, count: int) -> NDArray[np.float64]:
    """Return so many numbers from 0 to 1 that look random, as `selfcheck_number` of selfcheck.h gives them from the `first` one on."""
    x: NDArray[Any] = (np.arange(first, first + count, dtype=np.uint64) * 2654435761 + 12345).astype(np.uint32)
    for _ in range(2):
        x = (x ^ (x >> 16)) * np.uint32(0x45D9F3B)
    return (x ^ (x >> 16)) / 2.0**32


def told_value(s: Subject, names: Mapping[str, str], filled: Sequence[Filled]) -> float:
    """Return the loss of a model, or the sum of the products of values of a cell with their cotangents, in the second round of a
    check, whose arrays are `filled` in this order; `names` are those of arguments and outputs in C."""
    arrays = _filled(filled)
    first = _called(
        s, "forward", {x: arrays.get((STRUCTS.get(x[0], ""), names.get(x[1], ""))) for x in _ports(s, "forward")}
    )
    values = {name: v for (group, name), v in first.items() if group in ("states", "outputs")}
    if s.head is None:
        sent = {name: arrays.get(("cotangents", names[name])) for name in values}
        return float(sum(np.sum(v * sent[name]) for name, v in values.items() if sent[name] is not None))
    read = {name: v[-1] if s.is_last else v for name, v in values.items()}
    own = {name: v for (_, name), v in arrays.items()}
    # Of one name the target stands before the input: a loss that reads an input reads it as an output of the cell.
    own |= {name: v for (struct, name), v in arrays.items() if struct == "targets"}
    given = {x: read[x[1]] if x[0] == "output" else own[names[x[1]]] for x in _ports(s, "value")}
    return float(_called(s, "value", given)["outputs", TOTAL])


def _ports(s: Subject, key: str) -> list[tuple[str, str]]:
    return [(port.group, port.name) for port in s.functions[key].arguments]


def _called(s: Subject, key: str, given: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    with np.errstate(all="ignore"):  # the usual numbers may be none of the cell, which the value shows
        return run(s.functions[key], given, s.sizes, s.T, s.B, floats())


def _filled(filled: Sequence[Filled]) -> dict[tuple[str, str], NDArray[Any]]:
    """Return the arrays of the second round by struct and name."""
    found, at = dict[tuple[str, str], NDArray[Any]](), sum(x.member.count for x in filled)
    for x in filled:
        drawn = numbers(at, x.member.count)
        at += x.member.count
        values = (drawn * 2 - 1) * x.scale if x.limit is None else (drawn * x.limit).astype(np.intp)
        found[x.struct, x.member.name] = values[: int(np.prod(x.member.shape))].reshape(x.member.shape)
    return found
