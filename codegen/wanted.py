"""The gradients that are wanted of a kernel: `wrt="params"`, or names of parameters, inputs and states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from symbptt.checks import named
from symbptt.codegen.program.program import Program
from symbptt.errors import ArgumentError
from symbptt.language.cell import Cell
from symbptt.language.model import Model

Wanted: TypeAlias = frozenset[str] | None
"""The names of parameters, contexts and inputs whose gradients are computed; None: of all."""


def wanted(target: Cell | Model, wrt: Any) -> Wanted:
    """Return the names of the parameters and inputs that `wrt` asks for; those of states come with every backward pass.

    Raises: ArgumentError where it is neither "params" nor names, or one of them is no name of what has a gradient.
    """
    if wrt is None:
        return None
    roles = {a.name: a.role for a in target.arguments if a.role in ("param", "context", "input", "state")}
    params = frozenset(name for name, role in roles.items() if role == "param")
    if isinstance(wrt, str) and wrt == "params":
        return params
    if not isinstance(wrt, tuple | list | set | frozenset) or not all(isinstance(name, str) for name in wrt):
        is_name = isinstance(wrt, str) and wrt in roles
        cure = f"write wrt=({wrt!r},)" if is_name else f'write wrt="params" or wrt={tuple(roles)[:2]}'
        raise ArgumentError(f'wrt is "params" or a tuple of names, got {wrt!r}\n  {cure}')
    asked: Mapping[str, None] = named(dict.fromkeys(wrt))
    for name in asked:
        if name not in roles:
            known = {a.name for a in target.arguments}
            what = "has no gradient" if name in known else "is not known"
            raise ArgumentError(f"wrt: {name!r} {what}; {target.name} has gradients of {', '.join(roles)}")
    # Gradients of states are what the sweep carries: leaving them out would save nothing.
    return frozenset(name for name in asked if roles[name] != "state")


def restricted(p: Program, names: Wanted) -> Program:
    """Return a program before its passes with these gradients alone: what nothing else reads goes with the others."""
    if names is None:
        return p
    params, inputs = ({k: id for k, id in found.items() if k in names} for found in (p.params, p.inputs))
    return replace(p, params=params, inputs=inputs, wanted=names)
