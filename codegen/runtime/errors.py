"""The exception that a generated module raises."""


class ArgumentError(ValueError):
    """An argument is not what the cell takes."""
