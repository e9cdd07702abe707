"""What a module was made of: the cell, the loss and the options of `compile`, as one line of JSON in the module's head."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from symbptt.language.cell import Cell
from symbptt.language.digest import digest_of_cell
from symbptt.language.model import Loss, Model
from symbptt.language.truncation import Chunked, Window

BEGIN = "# made of "
ZOO = "symbptt.zoo"
NEEDED = ("cell", "digest")


@dataclass(frozen=True)
class Origin:
    """Where a cell and a loss are, as the command line names them, the digests of their traced steps, and the options."""

    cell: str
    digest: str
    consts: Mapping[str, Any] = field(default_factory=dict)
    loss: str = ""
    loss_digest: str = ""
    at: str = ""
    reduction: str = ""
    window: int = 0
    chunked: tuple[int, ...] = ()
    clip_adjoint: float | None = None
    memory: str | int = "all"
    wrt: tuple[str, ...] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON knows it."""
        plain = asdict(Origin("", ""))
        told = {k: v for k, v in asdict(self).items() if k in NEEDED or v != plain[k]}
        found: dict[str, Any] = json.loads(json.dumps(told, default=_as_list))
        return found

    @property
    def line(self) -> str:
        """The line of a module's head."""
        return BEGIN + json.dumps(self.told, ensure_ascii=False)

    @property
    def truncation(self) -> Window | Chunked | None:
        if self.chunked:
            return Chunked(*self.chunked)
        return Window(self.window) if self.window else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


KINDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("cell", "digest", "loss", "loss_digest", "at", "reduction"), _is_text),
    "consts": lambda value: isinstance(value, dict),
    "window": _is_count,
    "chunked": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)),
    "clip_adjoint": lambda value: type(value) in (int, float) and 0 < value < float("inf"),
    "wrt": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "memory": lambda value: value in ("all", "sqrt") or _is_count(value),
}
"""Whether a value that JSON has read is one of a field."""


def origin_of(
    target: Cell | Model,
    truncation: Window | Chunked | None,
    clip_adjoint: float | None,
    memory: str | int,
    wanted: frozenset[str] | None = None,
) -> Origin:
    """Return what the module of a cell or a model with some options is made of."""
    cell, loss = (target.cell, target.loss) if isinstance(target, Model) else (target, None)
    of_loss = {"loss": _named(loss), "loss_digest": digest_of_cell(loss)} if loss is not None else {}
    of_model = {"at": target.at, "reduction": target.reduction} if isinstance(target, Model) else {}
    return Origin(
        _named(cell),
        digest_of_cell(cell),
        {**cell.consts, **(loss.consts if loss is not None else {})},
        **of_loss,
        **of_model,
        window=truncation.k if isinstance(truncation, Window) else 0,
        chunked=(truncation.k1, truncation.k2) if isinstance(truncation, Chunked) else (),
        clip_adjoint=None if clip_adjoint is None else float(clip_adjoint),
        memory=memory,
        wrt=None if wanted is None else tuple(a.name for a in target.arguments if a.name in wanted),
    )


def read_origin(text: str) -> Origin | None:
    """Return what the head of a module says that it was made of; None where it says nothing that can be read."""
    line = next((line for line in text.split("\n") if line.startswith(BEGIN)), "")
    try:
        told = json.loads(line.removeprefix(BEGIN) or "null")
    except ValueError:
        return None
    # A head that somebody has edited is no reason for an error of ours further on.
    is_whole = isinstance(told, dict) and {*NEEDED} <= told.keys() <= KINDS.keys()
    return Origin(**told) if is_whole and all(KINDS[k](v) for k, v in told.items()) else None


def _named(target: Cell | Loss) -> str:
    """Return a name for the command line: that in the zoo, else file.py:name, or the name alone where there is no file.

    The folder is left out: the same cell gives the same module wherever it lies.
    """
    if (target.function.__module__ or "").startswith(ZOO):
        return target.name
    code = getattr(target.function, "__code__", None)
    path = PurePath(code.co_filename if code is not None else "")
    return f"{path.name}:{target.name}" if path.suffix == ".py" else target.name


def _as_list(value: Any) -> Any:
    return np.asarray(value).tolist()
