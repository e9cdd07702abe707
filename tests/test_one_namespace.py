"""Texts that modules carry share one namespace: the prelude, helpers, scans, what runs pieces and sweeps again."""

import ast
import re
from collections import Counter

from symbptt.codegen import checkpoints, prelude, scanning, sweeping
from symbptt.codegen.helpers import HELPERS, erf_source
from symbptt.codegen.targets.numpy.text import copied


def names(text: str) -> list[str]:
    """The names that a text defines for a module."""
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign):
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found


PARTS = {
    **{module.__name__: copied(module) for module in (prelude, checkpoints, sweeping)},
    **{name: text for name, text in HELPERS.items() if name != "_scan"},
    "_scan": copied(scanning),
    "erf": erf_source(),
}


def test_no_name_is_defined_twice() -> None:
    counts = Counter(name for text in PARTS.values() for name in names(text))
    assert len(counts) > 40
    assert [name for name, count in counts.items() if count > 1] == []


def test_each_helper_defines_the_name_by_which_it_is_asked_for() -> None:
    assert all(name in names(text) for name, text in HELPERS.items())
    assert all(re.fullmatch(r"_\w+", name) for name in HELPERS)
