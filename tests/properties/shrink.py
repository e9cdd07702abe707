"""A cell that fails, made smaller as long as it fails in the same check: by its typed tree, its sizes and its options."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

from tests.properties.cases import Case, Options
from tests.properties.checks import Difference, assert_case
from tests.properties.terms import Argument, Dims, Statement, Term, Tree

TRIES = 400
"""Runs of the check that a cell is worth."""


def shrunk(found: Difference, tries: int = TRIES) -> Difference:
    """The difference of the smallest cell that was found; each step is the first smaller cell that fails in the same way."""
    left = [tries]
    while left[0] > 0:
        smaller = next(filter(None, (_failing(case, found, left) for case in candidates(found.case))), None)
        if smaller is None:
            return found
        found = smaller
    return found


def _failing(case: Case, found: Difference, left: list[int]) -> Difference | None:
    """The difference of a case, where it is one of the same check and kind."""
    left[0] -= 1
    if left[0] < 0:
        return None
    try:
        assert_case(case, [found.check])
    except Difference as difference:
        return difference if kind(difference) == kind(found) else None
    return None


def kind(difference: Difference) -> tuple[str, str]:
    """What fails: a number that differs is another fault than an error, and than one with other words."""
    text = str(difference.error)
    words = next((w for w in ("differs", "differ", "does not run", "has other bytes") if w in text), "")
    return type(difference.error).__name__, words or text.splitlines()[0][:30] if text else ""


def candidates(case: Case) -> Iterator[Case]:
    """Smaller cases, the smallest first."""
    for f in fields(Options):
        if getattr(case.options, f.name) != f.default:
            yield replace(case, options=replace(case.options, **{f.name: f.default}))
    if case.tree is not None:
        for tree in trees(case.tree):
            yield replace(case, tree=tree)
    for steps in range(case.steps):
        yield replace(case, steps=steps)
    for batch in range(1, case.batch):
        yield replace(case, batch=batch)
    for name, size in case.sizes.items():
        for less in range(1, size):
            yield replace(case, sizes=case.sizes | {name: less})


def trees(tree: Tree) -> Iterator[Tree]:
    """Smaller trees: without an output, a state, a statement; with a name or a part in place of an expression."""
    for i in range(len(tree.outputs)):
        yield _read_by_loss(replace(tree, outputs=(*tree.outputs[:i], *tree.outputs[i + 1 :])))
    if len(tree.following) > 1:
        for name, _ in tree.following:
            yield _read_by_loss(tree.without(name))
    if tree.loss.text != "0.0" and not any(a.role == "State" for a in tree.loss_arguments[1:]):
        yield from (replace(tree, loss=part) for part in tree.loss.parts)
    for i, statement in enumerate(tree.statements):
        rest = (*tree.statements[:i], *tree.statements[i + 1 :])
        if statement.name not in replace(tree, statements=rest).names:
            yield replace(tree, statements=rest)
        if statement.body is not None:
            yield replace(
                tree,
                statements=(*tree.statements[:i], replace(statement, rounds=0, body=None), *tree.statements[i + 1 :]),
            )
    yield from _with_smaller_terms(tree)
    for i, statement in enumerate(tree.statements):
        yield _inlined(tree, i, statement)


def _read_by_loss(tree: Tree) -> Tree:
    """The tree with a loss of what is still there: of the first state, where its own reads what is gone."""
    there = {name for name, _ in (*tree.following, *tree.outputs)}
    if all(a.name in there for a in tree.loss_signature if a.role in ("State", "Output")):
        return tree
    name, value = tree.following[0]
    return replace(tree, loss_arguments=(Argument(name, "State", value.shape),), loss=Term((), f"np.sum({name} ** 2)"))


def _with_smaller_terms(tree: Tree) -> Iterator[Tree]:
    known: dict[str, Dims] = {a.name: a.shape for a in tree.arguments if a.role != "Index"}

    def leaves_at(place: int) -> Callable[[Dims], list[Term]]:
        names = known | {s.name: s.value.shape for s in tree.statements[:place]}
        return lambda shape: [Term(shape, name) for name, s in names.items() if s == shape][:3]

    at_end = leaves_at(len(tree.statements))
    for i, (name, value) in enumerate(tree.following):
        for less in value.smaller(at_end):
            yield replace(tree, following=(*tree.following[:i], (name, less), *tree.following[i + 1 :]))
    for i, (name, value) in enumerate(tree.outputs):
        for less in value.smaller(at_end):
            yield replace(tree, outputs=(*tree.outputs[:i], (name, less), *tree.outputs[i + 1 :]))
    for i, statement in enumerate(tree.statements):
        for less in statement.value.smaller(leaves_at(i)):
            yield _stated(tree, i, replace(statement, value=less))
        for less in statement.body.smaller(leaves_at(i + 1)) if statement.body else ():
            yield _stated(tree, i, replace(statement, body=less))


def _stated(tree: Tree, i: int, statement: Statement) -> Tree:
    return replace(tree, statements=(*tree.statements[:i], statement, *tree.statements[i + 1 :]))


def _inlined(tree: Tree, i: int, statement: Statement) -> Tree:
    """The tree with an expression in the place of the variable that stands for it, where that is read once."""
    rest = (*tree.statements[:i], *tree.statements[i + 1 :])
    if statement.body is not None:
        return tree

    def within(term: Term) -> Term:
        if term.text == statement.name:
            return statement.value
        return replace(term, parts=tuple(map(within, term.parts)))

    statements = tuple(replace(s, value=within(s.value), body=s.body and within(s.body)) for s in rest)
    found = replace(
        tree,
        statements=statements,
        following=tuple((k, within(v)) for k, v in tree.following),
        outputs=tuple((k, within(v)) for k, v in tree.outputs),
    )
    return found if _size(found) < _size(tree) else tree


def _size(tree: Tree) -> int:
    """Statements count, so that one that is read once is better in its place."""
    terms = [s.value for s in tree.statements] + [v for _, v in (*tree.following, *tree.outputs)]
    return 3 * len(tree.statements) + sum(term.size for term in terms)


def written(found: Difference, folder: Path) -> Path:
    """The file of a cell that fails, with its seed, its options and what differs as comments."""
    case = found.case
    head = [f"seed {case.seed}, check {found.check}", "sizes " + ", ".join(f"{k}={v}" for k, v in case.sizes.items()) + f"; T={case.steps}, B={case.batch}",
            f"options: {case.options}", *f"{type(found.error).__name__}: {found.error}".splitlines()[:12]]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed_{case.seed}_{found.check}.py"
    path.write_text("".join(f"# {line}\n" for line in head) + "\n" + case.file, encoding="utf-8")
    return path
