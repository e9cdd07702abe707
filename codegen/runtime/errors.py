"""The exception that a generated module raises."""


class ArgumentError(ValueError):
    """An argument is not what the cell takes."""


class _StepError(ArgumentError):
    """A step of a sample has no value: its fault in words, and what to do."""

    def __init__(self, fault: str, step: int, sample: int, cure: str) -> None:
        super().__init__(f"{fault} at step {step} of sample {sample}, where the cell has no value\n  {cure}")
        self.told = fault, step, sample, cure

    def after(self, steps: int) -> "_StepError":
        """Return the error of a run that has so many steps before this one."""
        fault, step, sample, cure = self.told
        return _StepError(fault, step + steps, sample, cure)
