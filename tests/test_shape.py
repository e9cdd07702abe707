"""Shapes: the laws of NumPy and Python, for every size that the names may have."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from symbptt.errors import ShapeError
from symbptt.ir import shape as shapes
from symbptt.ir.shape import named_size

NAMES = ("m", "n")
MANY = [dict(zip(NAMES, pair, strict=True)) for pair in itertools.product((1, 2, 3, 7), repeat=2)]
n, m = named_size("n"), named_size("m")


def concrete(size: Any, sizes: dict[str, int]) -> int:
    return size if isinstance(size, int) else int(size.subs({named_size(k): v for k, v in sizes.items()}))


def concrete_shape(shape: Any, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(concrete(item, sizes) for item in shape)


sizes = st.one_of(st.integers(1, 4), st.sampled_from([n, m, n + 1, n + m, 2 * n, n * m])).map(shapes.size)
shape_lists = st.lists(st.lists(sizes, max_size=3).map(tuple), min_size=1, max_size=3)


@given(shape_lists)
@example([(n, 1), (1, m)])
@example([(), (n,)])
def test_broadcast_is_numpys_for_every_size(given_shapes: list[shapes.Shape]) -> None:
    try:
        result = shapes.broadcast(*given_shapes)
    except ShapeError:
        for known in MANY:  # some size of the names must be refused by NumPy too
            try:
                np.broadcast_shapes(*(concrete_shape(s, known) for s in given_shapes))
            except ValueError:
                return
        pytest.fail("refused what NumPy broadcasts at every size")
    for known in MANY:
        assert concrete_shape(result, known) == np.broadcast_shapes(*(concrete_shape(s, known) for s in given_shapes))


@pytest.mark.parametrize(
    ("one", "other"), [((n,), (m,)), ((n,), (2,)), ((n,), (n + 1,)), ((2, n), (3, n)), ((n, 2), (n,))]
)
def test_names_are_never_guessed_to_be_equal(one: shapes.Shape, other: shapes.Shape) -> None:
    with pytest.raises(ShapeError, match="do not broadcast"):
        shapes.broadcast(one, other)


@given(shape_lists)
def test_broadcast_axes_are_those_that_were_repeated(given_shapes: list[shapes.Shape]) -> None:
    try:
        large = shapes.broadcast(*given_shapes)
    except ShapeError:
        assume(False)
    for small in given_shapes:
        summed = np.ones(concrete_shape(large, MANY[-1])).sum(shapes.broadcast_axes(small, large))
        assert summed.size == np.prod(concrete_shape(small, MANY[-1]), dtype=int)


bounds = st.one_of(st.none(), st.integers(-6, 6))
steps = st.one_of(st.none(), st.sampled_from([1, 2, 3, -1, -2]))


@given(bounds, bounds, steps, st.integers(1, 5))
def test_slice_of_a_known_length_is_pythons(start: Any, stop: Any, step: Any, length: int) -> None:
    first, count, stride = shapes.slice_bounds(slice(start, stop, step), length)
    wanted = list(range(length))[start:stop:step]
    assert [first + i * stride for i in range(count)] == wanted  # type: ignore[operator]


@given(
    st.one_of(bounds, st.sampled_from([n, m, n - 1, -n])), st.one_of(bounds, st.sampled_from([n, m, n + m, -m])),
    st.sampled_from([None, 1, -1]), st.sampled_from([n, n + m, n + 1, 2 * n, 3]),
)  # fmt: skip
@example(None, n, None, n + m)
@example(n, None, None, n + m)
@example(1, None, None, n)
@example(-1, None, None, n)
@example(None, -1, None, n)
@example(None, 2, None, n)
@example(None, None, -1, n)
def test_slice_of_a_named_length_is_pythons_for_every_size(start: Any, stop: Any, step: Any, length: Any) -> None:
    """For every size in which the bounds lie; or it is refused, since the length would be no one formula."""
    try:
        first, count, stride = shapes.slice_bounds(slice(start, stop, step), length)
    except ShapeError:
        return
    for known in MANY:
        low, high = (None if v is None else concrete(v, known) for v in (start, stop))
        whole = concrete(length, known)
        if any(v is not None and not -whole <= v <= whole for v in (low, high)):
            continue
        wanted = list(range(whole))[low:high:step]
        got = [concrete(first, known) + i * stride for i in range(concrete(count, known))]
        assert got == wanted, known


@given(sizes, sizes)
def test_exact_quotient_undoes_a_product(a: shapes.Size, b: shapes.Size) -> None:
    assert shapes.exact_quotient(shapes.size(a * b), b) == a


@pytest.mark.parametrize(("value", "by"), [(n + 1, 2), (n, m), (n + 1, n), (7, 2), (n * n + 1, n)])
def test_quotient_that_is_not_exact_is_refused(value: Any, by: Any) -> None:
    with pytest.raises(ShapeError, match="not divisible"):
        shapes.exact_quotient(value, by)


@given(sizes, sizes, st.integers(-3, 3))
def test_sign_is_certain_or_unknown(a: shapes.Size, b: shapes.Size, offset: int) -> None:
    value = shapes.size(a - b + offset)
    sign = shapes.sign_of(value)
    numbers = [concrete(value, known) for known in MANY]
    if sign == 0:
        assert all(v == 0 for v in numbers)
    if sign == 1:
        assert all(v >= 0 for v in numbers)
    if sign == -1:
        assert all(v < 0 for v in numbers)
    assert sign is not None or not isinstance(value, int)


@pytest.mark.parametrize("axis", range(-4, 4))
def test_normal_axis_is_numpys(axis: int) -> None:
    if -3 <= axis < 3:
        assert shapes.normal_axis(axis, 3) == range(3)[axis]
    else:
        with pytest.raises(ShapeError, match=f"axis {axis}"):
            shapes.normal_axis(axis, 3)


@pytest.mark.parametrize(
    ("shape", "text"), [((), "()"), ((n,), "(n,)"), ((n, 3), "(n, 3)"), ((2 * n + 1, m), "(2*n+1, m)")]
)
def test_shape_is_shown_as_numpy_prints_it(shape: shapes.Shape, text: str) -> None:
    assert shapes.show(shape) == text


def test_equal_polynomials_are_one_size() -> None:
    assert shapes.size(n * (m + 1)) == shapes.size(n + m * n)
    assert shapes.size(n - n + 3) == 3 and isinstance(shapes.size(n - n + 3), int)
    assert shapes.prod([n, 2, m]) == 2 * m * n
    assert shapes.prod([]) == 1
