"""Arrays of nets that are put together: the name of a part, a dot, and the name that the array has in that part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbptt.checks import check_mapping
from symbptt.codegen.kernel import Kernel, compile
from symbptt.errors import ArgumentError, instead_of_cell
from symbptt.ir.shape import names_in
from symbptt.language.cell import Cell, nearest
from symbptt.language.model import Model

Arrays = Mapping[str, Any]


def joined(parts: Mapping[str, Arrays]) -> dict[str, Any]:
    """Return arrays of parts in one dict: "encoder.W" for W of the part "encoder"."""
    return {f"{part}.{name}": value for part, arrays in parts.items() for name, value in arrays.items()}


def parted(what: str, given: Arrays | None, parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the arrays of each part under the names that they have there.

    Raises: ArgumentError for a name that begins with none of the parts.
    """
    example = f'{{"{parts[0]}.NAME": ...}}'
    given = {} if given is None else given
    check_mapping(what, given, example)
    found: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for key, value in given.items():
        # The first dot alone: "encoder.forward.W" is forward.W of the encoder, whose parts go on.
        part, dot, name = key.partition(".")
        if part not in found or not dot:
            wanted = " or ".join(f"{part}." for part in parts)
            raise ArgumentError(f"{what}: a name that begins with {wanted} is expected, got {key!r}\n  write {example}")
        found[part][name] = value
    return found


def names_of(kernel: Kernel, role: str) -> list[str]:
    """Return the names of the arguments of one role."""
    return [a.name for a in kernel.target.arguments if a.role == role]


def check_params(given: Mapping[str, Arrays], wanted: Mapping[str, Sequence[str]]) -> None:
    """Raises: ArgumentError for a parameter that lacks, by its name in the net: both parts may be the same cell."""
    for part, names in wanted.items():
        for name in names:
            if name not in given[part]:
                raise ArgumentError(f"parameter '{part}.{name}' is missing")


def read_by(what: str, given: Arrays | None, kernels: Mapping[str, Kernel]) -> dict[str, dict[str, Any]]:
    """Return of arrays that all parts share those that each of them reads.

    Raises: ArgumentError for a name that none of them reads.
    """
    given = {} if given is None else given
    check_mapping(what, given, '{"x": x}')
    known = {
        part: [a.name for a in k.cell.arguments if a.role in ("input", "index", "context")]
        for part, k in kernels.items()
    }
    every = list(dict.fromkeys(name for names in known.values() for name in names))
    for name in given:
        if name not in every:
            raise ArgumentError(f"{what}: {', '.join(every) or 'none'} are read, got {name!r}" + nearest(name, every))
    return {part: {k: v for k, v in given.items() if k in names} for part, names in known.items()}


def kernel_of(what: str, target: Any) -> Kernel:
    """Return a kernel as it is, and a cell or a model compiled.

    Raises: ArgumentError for what is none of these.
    """
    if isinstance(target, Kernel):
        return target
    if not isinstance(target, Cell | Model):
        raise ArgumentError(
            f"{what}: a cell or a kernel is expected, got {type(target).__name__}\n  {instead_of_cell(target)}"
        )
    return compile(target)


def check_run(run: Any, kind: type) -> None:
    """Raises: ArgumentError where a run is not what `forward` of a net returns."""
    if not isinstance(run, kind):
        raise ArgumentError(
            f"run: what forward of this net returns is expected, got {type(run).__name__}\n"
            "  write run = net.forward(...), then net.backward(run, ...)"
        )


def sizes_by(sizes: Mapping[str, int], parts: Mapping[str, Sequence[Kernel]]) -> dict[str, dict[str, int]]:
    """Return the sizes of each part, which has one kernel or more: those of its own, "encoder.n", go before those of all, "n".

    Raises: ArgumentError for what is no dict by name, and for a size that no part has.
    """
    check_mapping("sizes", sizes, '{"n": 8}')
    known = {part: {name for k in kernels for name in _sizes_in(k.target)} for part, kernels in parts.items()}
    found = {part: {k: v for k, v in sizes.items() if k in names} for part, names in known.items()}
    every = sorted(set().union(*known.values()))
    for key, value in sizes.items():
        # A size of one name may differ between parts: each has its own n.
        part, dot, name = key.partition(".")
        if dot and part in found:
            found[part][name] = value
        elif key not in every:
            own = [f"{part}.{name}" for part, names in known.items() for name in sorted(names)]
            raise ArgumentError(f"sizes: no part has the size {key!r}" + nearest(key, [*every, *own]))
    return found


def _sizes_in(target: Cell | Model) -> set[str]:
    shapes = [*(a.shape for a in target.arguments), tuple(a.limit for a in target.arguments if a.limit is not None)]
    return {name for shape in shapes for name in names_in(shape)}
