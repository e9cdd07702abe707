"""Full backpropagation: every loss flows back to the first step."""


def _reaches(T: int) -> list[tuple[int, int, int]]:
    """Return steps lo to hi whose losses flow back to the same step, and that step."""
    return [(0, T, 0)]
