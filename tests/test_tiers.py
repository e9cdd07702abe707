"""Which cases of a thinned test are run by default, which are long, which exhaustive: each is in one tier, none in no tier."""

from typing import Any

import pytest

from tests.conftest import pytest_collection_modifyitems

TIERS = ("long", "exhaustive")


class Item:
    """A collected case, as far as tiers ask for it."""

    def __init__(self, number: int, marks: list[Any]) -> None:
        self.nodeid = f"tests/test_a.py::test_b[{number}]"
        self.own_markers = [mark.mark for mark in marks]

    def get_closest_marker(self, name: str) -> Any:
        return next((mark for mark in self.own_markers if mark.name == name), None)

    def add_marker(self, mark: Any) -> None:
        self.own_markers.append(mark.mark)


def tiers(count: int, thinned: Any, *marks: Any) -> str:
    """The first letter of the tier of each case, d by default."""
    items: list[Any] = [Item(i, [thinned, *marks]) for i in range(count)]
    pytest_collection_modifyitems(items)
    found = [[mark.name for mark in item.own_markers if mark.name in TIERS] for item in items]
    assert all(len(names) <= 1 for names in found), found
    return "".join(names[0][0] if names else "d" for names in found)


@pytest.mark.parametrize(
    "thinned, marks, wanted",
    [
        (pytest.mark.thinned(3), [], "dlldlldll"),
        (pytest.mark.thinned(4, 2), [], "deledeled"),
        (pytest.mark.thinned(3, 2), [], "deldledel"),
        (pytest.mark.thinned(1, 3), [pytest.mark.long], "leeleelee"),
        (pytest.mark.thinned(2), [pytest.mark.exhaustive], "eeeeeeeee"),
    ],
)
def test_every_case_is_in_one_tier(thinned: Any, marks: list[Any], wanted: str) -> None:
    assert tiers(len(wanted), thinned, *marks) == wanted
