"""Mutants of a module's text: one small edit each, of the kinds of mistakes that are made in backward passes by hand.

A function is taken as a tree, one node of it is changed, and the function is written anew; all else of the text stays.
"""

import ast
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

WORDS_ALONE = (
    "_check", "_names", "_axes", "_place", "_shown", "_listed", "_one_batched", "_filled", "_plain", "_array", "_dtype", "_count",
    "_measured", "_length", "_given", "_workspace", "_are_finite", "_quiet", "_sizes", "_shapes", "_refuse",
    "_run_selfcheck", "_selfchecked", "_of_case", "_other_forms", "_wrong_norms", "_wrong_steps", "_is_same", "_errors", "_blocks_of", "_of_values", "_of_loss", "_loss_score", "_some_sizes", "_told_sizes", "_verdict",
    "_is_right", "_digest", "_text_of", "_forms_in", "_check_forms", "_loss_sent",
)  # fmt: skip
"""Functions that check a call or the module itself, word an error, read sizes, or ask whether NumPy should warn: they compute no result."""
STEPPING = ("_once", "_step", "stepper", "_own")
"""Functions of single steps, which no call of the battery makes: `sb.verify` compares them in its forms, `tests/test_stepping.py`."""
OTHER_CALLS = {
    "add": "subtract", "subtract": "add", "multiply": "divide", "divide": "multiply", "negative": "positive", "maximum": "minimum",
    "minimum": "maximum", "exp": "expm1", "tanh": "sin", "square": "abs", "greater": "less", "less": "greater", "sqrt": "square",
    "max": "min", "min": "max", "sum": "mean", "zeros": "ones", "zeros_like": "ones_like", "log1p": "log", "sign": "cos",
    "logical_and": "logical_or", "cumsum": "cumprod", "argmax": "argmin",
}  # fmt: skip
SIGNS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
ORDERS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
          ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A text with one edit: what kind it is, in which function, at which line of the module, and the words before and after."""

    kind: str
    function: str
    line: int
    before: str
    after: str
    parts: tuple[str, str, str] = ("", "", "")
    """The module before the function, the function, and the module behind it, of which all mutants of a function share two."""

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def __str__(self) -> str:
        return f"{self.function}, line {self.line}, {self.kind}: {self.before}  ->  {self.after}"


@dataclass(frozen=True)
class Edit:
    """A change of one node: its kind and the node that stands in its place."""

    kind: str
    node: ast.AST


def number(value: object) -> ast.Constant:
    return ast.Constant(value)


def functions(text: str) -> list[ast.FunctionDef]:
    """The functions of a module that compute results."""
    tree = ast.parse(text)
    return [
        f
        for f in tree.body
        if isinstance(f, ast.FunctionDef) and not f.name.startswith(WORDS_ALONE) and f.name not in STEPPING
    ]


def mutants(text: str, without: frozenset[str] = frozenset()) -> Iterator[Mutant]:
    """Yield all mutants of a module; functions whose text is among `without` are left as they are."""
    lines = text.splitlines(keepends=True)
    for function in functions(text):
        assert function.end_lineno is not None
        own = "".join(lines[function.lineno - 1 : function.end_lineno])
        if own in without:
            continue
        head, tail = "".join(lines[: function.lineno - 1]), "".join(lines[function.end_lineno :])
        seen = {ast.unparse(function)}
        for found, body in of_function(function):
            if body not in seen:
                seen.add(body)
                yield replace(found, parts=(head, body + "\n", tail))


def texts_of(text: str) -> frozenset[str]:
    """The texts of the functions of a module."""
    lines = text.splitlines(keepends=True)
    return frozenset("".join(lines[f.lineno - 1 : f.end_lineno]) for f in functions(text))


def of_function(function: ast.FunctionDef) -> Iterator[tuple[Mutant, str]]:
    """Yield mutants of one function without the module, and the texts of the function."""
    tree = deepcopy(function)
    names = sorted(
        {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    )
    rooms = [k.value.id for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords
             if k.arg == "out" and isinstance(k.value, ast.Name)]  # fmt: skip
    rooms = list(dict.fromkeys(rooms))
    for parent, field, index, node, line in _nodes(tree):
        for edit in _edits(node, names, rooms, parent):
            _put(parent, field, index, edit.node)
            before, after = _words(node), _words(edit.node)
            yield (
                Mutant(edit.kind, function.name, line, before, after),
                ast.unparse(ast.fix_missing_locations(tree)),
            )
            _put(parent, field, index, node)
    for body in _bodies(tree):
        for i in range(len(body) - 1):
            if all(isinstance(s, ast.Expr | ast.AugAssign) for s in body[i : i + 2]):
                body[i], body[i + 1] = body[i + 1], body[i]
                yield (
                    Mutant("order of statements", function.name, body[i].lineno, _words(body[i + 1]), _words(body[i])),
                    ast.unparse(tree),
                )
                body[i], body[i + 1] = body[i + 1], body[i]


def _words(node: ast.AST) -> str:
    return ast.unparse(node).replace("\n", " ; ")[:110]


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _nodes(tree: ast.AST, line: int = 0) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, int]]:
    """Yield all nodes below a tree with their places, but docstrings, errors that are raised, and signatures."""
    for field, value in ast.iter_fields(tree):
        if isinstance(tree, ast.FunctionDef) and field in ("args", "decorator_list", "returns"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not isinstance(node, ast.AST) or isinstance(node, ast.Raise | ast.expr_context) or is_doc:
                continue
            here = getattr(node, "lineno", line)
            yield tree, field, index, node, here
            yield from _nodes(node, here)


def _bodies(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for field in ("body", "orelse"):
            value = getattr(node, field, None)
            if isinstance(value, list):
                yield value


def _edits(node: ast.AST, names: list[str], rooms: list[str], parent: ast.AST) -> Iterator[Edit]:
    match node:
        case ast.Call():
            yield from _of_call(node, rooms)
        case ast.BinOp():
            yield from _of_operation(node)
        case ast.UnaryOp():
            yield Edit("a sign" if isinstance(node.op, ast.USub) else "a mask", node.operand)
        case ast.Subscript():
            yield from _of_subscript(node)
        case ast.Attribute(attr="T"):
            yield Edit("a transposition", node.value)
        case ast.Constant(value=bool()):
            yield Edit("a condition", number(not node.value))
        case ast.Constant(value=int() | float()) if not isinstance(parent, ast.UnaryOp):
            yield Edit("a constant", number(node.value + 1))
            if node.value:
                yield Edit("a constant", number(node.value - 1))
        case ast.Constant(value=str()) if "->" in node.value:
            yield from _of_einsum(node.value)
        case ast.Tuple() | ast.List() if isinstance(getattr(node, "ctx", None), ast.Load):
            for i in range(len(node.elts) - 1):
                elements = [*node.elts]
                elements[i], elements[i + 1] = elements[i + 1], elements[i]
                yield Edit("another gate", type(node)(elts=elements, ctx=ast.Load()))
        case ast.Dict():
            for i in range(len(node.values) - 1):
                values = [*node.values]
                values[i], values[i + 1] = values[i + 1], values[i]
                yield Edit("another gate", ast.Dict(node.keys, values))
        case ast.Compare():
            for other in [ORDERS.get(type(op)) for op in node.ops[:1]]:
                if other is not None:
                    yield Edit("a condition", ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators))
        case ast.BoolOp():
            other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield Edit("a condition", ast.BoolOp(other_op, node.values))
        case ast.IfExp():
            yield Edit("a condition", node.body)
            yield Edit("a condition", node.orelse)
        case ast.If():
            yield Edit("a dropped mask", ast.If(number(False), node.body, node.orelse))
            yield Edit("a condition", ast.If(number(True), node.body, node.orelse))
        case ast.Expr() | ast.AugAssign():
            yield Edit("a dropped statement", ast.Pass())
            if isinstance(node, ast.AugAssign):
                yield Edit("a sum that is assigned", ast.Assign([node.target], node.value, lineno=node.lineno))
                if type(node.op) in SIGNS:
                    yield Edit("a sign", ast.AugAssign(node.target, SIGNS[type(node.op)](), node.value))
        case ast.Assign() if isinstance(node.targets[0], ast.Subscript):
            yield Edit("a dropped statement", ast.Pass())
        case ast.Name() if isinstance(node.ctx, ast.Load) and node.id in names:
            yield from _of_name(node, names)
        case _:
            pass


def _of_call(node: ast.Call, rooms: list[str]) -> Iterator[Edit]:
    def changed(
        args: list[ast.expr] | None = None, keywords: list[ast.keyword] | None = None, func: ast.expr | None = None
    ) -> ast.Call:
        return ast.Call(
            func or node.func, node.args if args is None else args, node.keywords if keywords is None else keywords
        )

    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in OTHER_CALLS:
            other = ast.Attribute(node.func.value, OTHER_CALLS[name], ast.Load())
            yield Edit("a sign" if name in ("add", "subtract", "negative") else "another function", changed(func=other))
        if name in ("add", "subtract", "multiply") and len(node.args) == 2:
            rest = number(1 if name == "multiply" else 0)
            yield Edit("a dropped term", changed([node.args[0], rest]))
            yield Edit("a dropped term", changed([rest, node.args[1]]))
        if name in ("subtract", "divide") and len(node.args) == 2:
            yield Edit("another operand", changed(node.args[::-1]))
        if name in ("swapaxes", "transpose"):
            yield Edit("a transposition", node.func.value)
        if name in ("square", "exp", "tanh", "negative", "sqrt", "sign", "log1p") and node.args:
            yield Edit("a dropped function", changed(func=ast.Attribute(node.func.value, "positive", ast.Load())))
    if isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        yield Edit("a bound", changed(func=ast.Name("max" if node.func.id == "min" else "min", ast.Load())))
        for i in range(len(node.args)):
            yield Edit("a bound", node.args[i])
    for i, keyword in enumerate(node.keywords):
        if (
            keyword.arg == "out"
            and isinstance(keyword.value, ast.Name)
            and len(rooms) > 1
            and keyword.value.id in rooms
        ):
            other = rooms[(rooms.index(keyword.value.id) + 1) % len(rooms)]
            yield Edit(
                "another buffer",
                changed(
                    keywords=[
                        *node.keywords[:i],
                        ast.keyword("out", ast.Name(other, ast.Load())),
                        *node.keywords[i + 1 :],
                    ]
                ),
            )


def _of_operation(node: ast.BinOp) -> Iterator[Edit]:
    if type(node.op) in SIGNS:
        other = SIGNS[type(node.op)]()
        kind = "a sign" if isinstance(node.op, ast.Add | ast.Sub) else "another function"
        yield Edit(kind, ast.BinOp(node.left, other, node.right))
    yield Edit("a dropped term", node.left)
    yield Edit("a dropped term", node.right)


def _of_subscript(node: ast.Subscript) -> Iterator[Edit]:
    if not isinstance(node.ctx, ast.Load):
        return

    def at(index: ast.expr) -> ast.Subscript:
        return ast.Subscript(node.value, index, ast.Load())

    match node.slice:
        case ast.Slice(lower=low, upper=high, step=None):
            if low is not None and high is not None:
                yield Edit("bounds of a block", at(ast.Slice(None, ast.BinOp(high, ast.Sub(), low), None)))
                one = number(1)
                yield Edit(
                    "a shift by a step",
                    at(ast.Slice(ast.BinOp(low, ast.Sub(), one), ast.BinOp(high, ast.Sub(), one), None)),
                )
                yield Edit(
                    "a shift by a step",
                    at(ast.Slice(ast.BinOp(low, ast.Add(), one), ast.BinOp(high, ast.Add(), one), None)),
                )
            elif low is not None:
                yield Edit("another gate", at(ast.Slice(None, low, None)))
            elif high is not None:
                yield Edit("another gate", at(ast.Slice(ast.UnaryOp(ast.USub(), high), None, None)))
        case ast.Slice():
            yield Edit("the order of steps", node.value)
        case ast.Name() | ast.BinOp():
            yield Edit("a shift by a step", at(ast.BinOp(node.slice, ast.Sub(), number(1))))
        case ast.Tuple(elts=[*parts]):
            for i, part in enumerate(parts):
                if isinstance(part, ast.Slice) and part.lower is not None and part.upper is None:
                    yield Edit(
                        "another gate",
                        at(ast.Tuple([*parts[:i], ast.Slice(None, part.lower, None), *parts[i + 1 :]], ast.Load())),
                    )
        case _:
            pass


def _of_einsum(text: str) -> Iterator[Edit]:
    given, _, result = text.partition("->")
    if len(result) > 1:
        yield Edit("a transposition", number(f"{given}->{result[-1]}{result[1:-1]}{result[0]}"))
    for i, part in enumerate(given.split(",")):
        if len(part) > 1:
            parts = given.split(",")
            parts[i] = part[:-2] + part[-1] + part[-2]
            yield Edit("a transposition", number(f"{','.join(parts)}->{result}"))


def _of_name(node: ast.Name, names: list[str]) -> Iterator[Edit]:
    """Another value of the same family: with the same ending, the next one in the alphabet; and that of the step before."""
    ending = node.id.rpartition("_")[2] if "_" in node.id else ""
    family = [name for name in names if (name.rpartition("_")[2] if "_" in name else "") == ending]
    if len(family) > 1:
        yield Edit("another operand", ast.Name(family[(family.index(node.id) + 1) % len(family)], ast.Load()))
    for one, two in (("_prev", ""), ("", "_prev")):
        stem, last = (node.id[:-2], node.id[-2:]) if node.id[-2:] in ("_t", "_b") else (node.id, "")
        if (
            (not one or stem.endswith(one))
            and (other := stem.removesuffix(one) + two + last) in names
            and other != node.id
        ):
            yield Edit("a shift by a step", ast.Name(other, ast.Load()))
