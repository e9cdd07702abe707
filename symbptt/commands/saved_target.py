"""The cell or the model that a module in a file was made of: looked for where its head says, or named by the caller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from symbptt.commands.load_target import load, load_members, load_target
from symbptt.errors import TargetError, three_lines


def target_of(saved: Any, named: str = "") -> Any:
    """Return the cell, or the cell with its loss, that a saved module was made of; `named` is where the caller says that it is.

    A file is looked for in the folder of the caller, in that of the module, and in the one above. The digest tells whether what is
    found is the same: where none is, the first is returned, which is refused in words.

    Raises: TargetError where there is no such file, cell or loss.
    """
    origin = saved.origin
    found = load_target(named, models=True) if named else _found(saved, origin.cell, origin.digest, _is_cell)
    if not origin.loss or not _is_cell(found):
        return found
    place = f"{named.rpartition(':')[0]}:{origin.loss.rpartition(':')[2]}" if ":" in named else origin.loss
    loss = _found(saved, place, origin.loss_digest, _is_loss)
    return load("language.model").Model(found, loss, origin.at, origin.reduction)


def _is_cell(value: Any) -> bool:
    return isinstance(value, load("language.cell").Cell)


def _is_loss(value: Any) -> bool:
    return isinstance(value, load("language.model").Loss)


def _found(saved: Any, place: str, digest: str, is_kind: Callable[[Any], bool]) -> Any:
    """Return the cell or the loss with a digest of a file, by its name, else any that has it; else the one with the name."""
    file, _, name = place.rpartition(":")
    if not file:
        return load_target(name)
    digest_of = load("language.digest").digest_of_cell
    folders = dict.fromkeys([Path(), saved.path.parent, saved.path.parent / ".."])
    others: list[Any] = []
    for path in [folder / file for folder in folders if (folder / file).is_file()]:
        members = {key: value for key, value in load_members(path).items() if is_kind(value)}
        same = [value for value in members.values() if digest_of(_with_consts(value, saved)) == digest]
        if same:
            return same[0]
        others += [members[name]] if name in members else []
    if others:
        return others[0]
    looked = ", ".join(str(folder) for folder in folders)
    raise TargetError(
        three_lines(
            f"no {name} is found in a file {file}, of which {saved.path} was made",
            f"looked in {looked}",
            f"say where it is: --cell path/to/{file}:{name}",
        )
    )


def _with_consts(value: Any, saved: Any) -> Any:
    """Return a cell with the constants that a module was compiled with, where it has them."""
    known = {a.name for a in value.arguments if a.role == "const"}
    consts = {k: v for k, v in saved.origin.consts.items() if k in known}
    return type(value)(value.function, {**value.consts, **consts}) if consts else value
