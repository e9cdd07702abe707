"""The command `check`: a backward pass of the user's against the derivative of a cell."""

from __future__ import annotations

from typing import Annotated

import typer

from symbptt.commands.load_target import load, load_function, load_target
from symbptt.commands.terminal import FAILED, stage

Target = Annotated[
    str,
    typer.Argument(
        show_default=False, metavar="TARGET", help="A cell of the zoo, or a cell or a model as path/to/cells.py:name."
    ),
]
Own = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="BACKWARD",
        help="def backward(params, inputs, state, cotangents), as path/to/backward.py:name.",
    ),
]
Domain = Annotated[
    list[str] | None,
    typer.Option(
        show_default=False,
        metavar="NAME=WHERE",
        help="Where arguments lie: x=0..1 keep=binary p=positive; also nonnegative, probability, simplex, integer.",
    ),
]
More = Annotated[list[str] | None, typer.Argument(show_default=False, metavar="NAME=WHERE", help="Further domains.")]
"""What stands behind the first domain: an option takes one word."""


def check(
    target: Target,
    backward: Own,
    more: More = None,
    domain: Domain = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
) -> int:
    """Check a backward pass of yours against the derivative of a cell, and tell what is wrong with it; exit code 1 where it is wrong.

    It returns one dict of gradients by name, of parameters, inputs and initial states; of a model its last argument is the targets.
    """
    cell, own = load_target(target, models=True), load_function(backward)
    where = load("verification.domains").domain_of([*(domain or []), *(more or [])])
    with stage() as tell:
        tell("checking")
        report = load("verification.checks").check_backward(cell, own, domain=where, seed=seed)
    print(report)
    return 0 if report.passed else FAILED
