"""The errors that users of symbptt see: what was expected, where, and what to write instead."""


class SymbpttError(Exception):
    """Base of every error that symbptt raises on purpose."""


class CellError(SymbpttError):
    """A cell, or a loss, is not written as it must be."""


class ShapeError(CellError):
    """Shapes inside a cell do not conform."""


class ArgumentError(SymbpttError, ValueError):
    """An array, a name or an option given to a function is not what it takes."""


class TargetError(SymbpttError):
    """A file or a name given on the command line cannot be used."""


class TheoremError(SymbpttError):
    """A run contradicts what was proven of its cell: a fault of symbptt that must not be printed as a result."""


class StabilityWarning(UserWarning):
    """What becomes of gradients has changed in the course of a training (`sb.Watch`)."""


def three_lines(what: str, where: str = "", cure: str = "") -> str:
    """Return the message of an error: what was expected and what came, where, and what to write instead."""
    return "\n  ".join(line for line in (what, where, cure) if line)


def instead_of_cell(value: object) -> str:
    """Return what to write where a cell or a model is expected and another value came."""
    return str(getattr(value, "INSTEAD_OF_CELL", "decorate the function with @sb.cell"))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 state, 2 states."""
    return f"{number} {noun}" + "s" * (number != 1)


def one_line(message: object) -> str:
    """Return a message of several lines as one."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    return "; ".join(lines)
