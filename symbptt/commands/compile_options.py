"""The options of `compile` on the command line, as `generate` and `plan` take them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from symbptt.commands.load_target import load
from symbptt.errors import ArgumentError
from symbptt.syntax import expression

EXAMPLE = "--truncation window=20, or --truncation chunked=20,40"

Truncation = Annotated[
    str,
    typer.Option(
        show_default=False,
        metavar="window=K|chunked=K1,K2",
        help="How far a loss flows back: over K steps; or every K1 steps, those of the last K1 over K2.",
    ),
]
Memory = Annotated[str, typer.Option(help="all, sqrt, or a number of bytes.")]
ClipAdjoint = Annotated[
    float | None,
    typer.Option(show_default=False, help="Norm at most of the adjoints of a sample's states, at every step backward."),
]
Consts = Annotated[
    list[str] | None,
    typer.Option(
        "--const",
        show_default=False,
        metavar="NAME=VALUE",
        help="A constant: dt=0.05, tau=[1,2], kind=relu; may be repeated.",
    ),
]


def compile_options(
    truncation: str, memory: str, clip_adjoint: float | None, consts: Sequence[str] | None
) -> dict[str, Any]:
    """Return what `compile` takes for the options of a command line; what is not said is left out.

    Raises: ArgumentError for what is no truncation or no constant.
    """
    found = {
        "truncation": truncation_of(truncation) if truncation else None,
        "memory": int(memory) if memory.isdecimal() else memory if memory != "all" else None,
        "clip_adjoint": clip_adjoint,
        "consts": consts_of(consts) if consts else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def truncation_of(text: str) -> Any:
    """Return the truncation that a text names.

    Raises: ArgumentError where it names none, or its numbers are no counts of steps.
    """
    kind, _, numbers = text.partition("=")
    steps = [int(part) for part in numbers.split(",") if part.strip().isdecimal()]
    kinds = {("window", 1): "Window", ("chunked", 2): "Chunked"}
    if (kind.strip(), len(steps)) not in kinds or numbers.count(",") != len(steps) - 1:
        raise ArgumentError(f"--truncation is window=K or chunked=K1,K2, got {text!r}\n  write {EXAMPLE}")
    return getattr(load("language.truncation"), kinds[kind.strip(), len(steps)])(*steps)


def consts_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the constants that a command line lists, each dt=0.05, tau=[1,2] or kind=relu.

    Raises: ArgumentError where a text has no name or no value, or names one twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value or name in found:
            problem = f"{name!r} has two values" if name in found else f"no value of a constant in {text!r}"
            raise ArgumentError(f"--const: {problem}\n  write --const dt=0.05 --const tau=[1,2]")
        found[name] = value_of(value)
    return found


def value_of(text: str) -> Any:
    """Return the number or the nested list of numbers that a text is, else the text itself, a word."""
    try:
        return ast.literal_eval(expression(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
