"""Three-address code for the body of an elementwise function: each operation is a call into an array of the workspace
or into the result.

Example: y = sigmoid(b) * c at a step t becomes, with the result itself as the only temporary,

    np.negative(b_t, out=y_t);  np.exp(y_t, out=y_t);  np.add(one, y_t, out=y_t)
    np.divide(one, y_t, out=y_t);  np.multiply(y_t, c_t, out=y_t)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from operator import add, mul, sub, truediv

import sympy as sp

from symbptt import ops
from symbptt.codegen.targets.numpy.calls.sheet import LOOP_AXES, Operand, Sheet, number
from symbptt.codegen.targets.numpy.scalar_text import body_text
from symbptt.codegen.targets.numpy.text import ATOM, PRODUCT, SUM, bracket
from symbptt.ir.scalar import Call, Num, Power, Prod, Ref, Sum, Tree, indices, whole_power
from symbptt.ir.shape import Shape, broadcast

BOOLEAN = {op.name for op in ops.OPS if getattr(op.body, "boolean", False)}
"""Functions whose values are False and True."""
NAMES = {"0": "zero", "1": "one", "2": "two", "0.5": "half"}
LITERAL = re.compile(r"\(?(-?\d+(?:\.\d*)?(?:e-?\d+)?)\)?")
UFUNCS = {">": "greater", ">=": "greater_equal", "<": "less", "<=": "less_equal", "==": "equal", "!=": "not_equal"}
SIGNS = {"add": ("+", add), "subtract": ("-", sub), "multiply": ("*", mul), "divide": ("/", truediv)}
"""Functions of two numbers for which Python has signs."""


def written(sheet: Sheet, tree: Tree, parts: Sequence[Operand], out: Operand | None = None) -> Operand:
    """Return the value of a tree, written into `out` where it is given, else in place or into an array of the
    workspace."""
    read = indices(tree)
    twice = [part for i, part in enumerate(parts) if part.room and read.count(i) > 1]
    parts = [replace(part, room="") if read.count(i) > 1 else part for i, part in enumerate(parts)]
    alone = len(read) == 1  # an operand that is read once, and first, may be overwritten
    spare = out if out is not None and (alone or all(parts[i].base != out.base for i in read)) else None
    value = _value(sheet, tree, parts, out, spare)
    sheet.free(twice)
    return value


def computed(sheet: Sheet, trees: Sequence[Tree], parts: Sequence[Operand]) -> tuple[list[Operand], list[Operand]]:
    """Return the values of several trees, and operands to be given back when these have been read."""
    read = [i for tree in trees for i in indices(tree)]
    twice = [part for i, part in enumerate(parts) if part.room and read.count(i) > 1]
    parts = [replace(part, room="") if read.count(i) > 1 else part for i, part in enumerate(parts)]
    return [_value(sheet, tree, parts, None, None) for tree in trees], twice


def _value(sheet: Sheet, tree: Tree, parts: Sequence[Operand], out: Operand | None, spare: Operand | None) -> Operand:
    """Return the value of a tree; `out` takes the result, `spare` intermediate values."""
    if not any(parts[i].lead for i in indices(tree)):
        return put(sheet, _ahead(sheet, tree, parts), out)
    match tree:
        case Ref(index):
            return put(sheet, parts[index], out)
        case Sum(((sign, term),)):
            assert sign < 0, tree
            return apply(sheet, "negative", [_inner(sheet, term, parts, spare)], out)
        case Sum(terms):
            return _sum(sheet, terms, parts, out, spare)
        case Prod(factors, divisors):
            steps = [("multiply", f) for f in factors[1:]] + [_over(d) for d in divisors]
            return _chain(sheet, factors[0], steps, parts, out, spare)
        case Power(base) if whole_power(tree) == 2:
            return apply(sheet, "square", [_inner(sheet, base, parts, spare)], out)
        case Power(base) if whole_power(tree):
            return _multiplied(sheet, _inner(sheet, base, parts, None), whole_power(tree), out, spare)
        case Power(base, exponent):
            return _function(sheet, "power", (base, exponent), parts, out, spare)
        case Call(name, args):
            return _call(sheet, name, args, parts, out, spare)
    raise AssertionError(tree)


def _multiplied(sheet: Sheet, base: Operand, count: int, out: Operand | None, spare: Operand | None) -> Operand:
    """Return a whole power by squares and products; NumPy's `power` takes as long as many of them."""
    # Each product reads the base, so that no call may write over it.
    kept = replace(base, room="")
    free = spare is not None and spare.base != base.base and spare.shape == base.shape
    # Square and multiply from the second highest bit on: x**5 (101) is square, square, multiply.
    names = [name for bit in bin(count)[3:] for name in ("square", "multiply")[: 1 + int(bit)]]
    value, target = kept, spare if free else None
    for name in names[:-1]:
        value = target = apply(sheet, name, [value, kept][: 1 + (name == "multiply")], target)
    value = apply(sheet, names[-1], [value, kept][: 1 + (names[-1] == "multiply")], out)
    sheet.free([base])
    return value


def _over(divisor: Tree) -> tuple[str, Tree]:
    """Return the operation that divides: by a power of two it is a multiplication, which is faster and exact."""
    if isinstance(divisor, Num) and divisor.value.is_Integer and int(divisor.value).bit_count() == 1:
        return "multiply", Num(sp.Float(1 / int(divisor.value)))
    return "divide", divisor


def _ahead(sheet: Sheet, tree: Tree, parts: Sequence[Operand]) -> Operand:
    """Return a tree that no sample occurs in as an expression, computed before the loop unless it is a number."""
    if isinstance(tree, Ref):
        return parts[tree.index]
    text = body_text(tree, [part.written for part in parts])
    if all(parts[i].bare for i in indices(tree)):
        return number(*text)
    shape = shape_of(tree, parts)
    return sheet.view(Operand("", "v", shape, settled=True), text[0], shape, solid=True)


def put(sheet: Sheet, value: Operand, out: Operand | None) -> Operand:
    """Return a value where it is, or copied into `out`."""
    if out is None or out.text == value.text:
        return value
    sheet.call(f"np.copyto({out.text}, {value.text})")
    sheet.free([value])
    return out


def shape_of(tree: Tree, parts: Sequence[Operand]) -> Shape:
    """Return the shape of a tree's value."""
    return broadcast(*(parts[i].shape for i in indices(tree)))


def _inner(sheet: Sheet, tree: Tree, parts: Sequence[Operand], spare: Operand | None) -> Operand:
    """Return the value of a part of a tree, in the spare array where it fits."""
    varies = any(parts[i].lead for i in indices(tree))
    fits = spare is not None and varies and shape_of(tree, parts) == spare.shape and not _is_condition(tree)
    room = spare if fits and not isinstance(tree, Ref) else None
    return _value(sheet, tree, parts, room, room)


def _is_condition(tree: Tree) -> bool:
    return isinstance(tree, Call) and tree.name in BOOLEAN


def _later(spare: Operand | None, *found: Operand) -> Operand | None:
    """Return the spare array, unless a value is in it already."""
    return None if spare is None or any(o.text == spare.text for o in found) else spare


def _sum(
    sheet: Sheet,
    terms: Sequence[tuple[int, Tree]],
    parts: Sequence[Operand],
    out: Operand | None,
    spare: Operand | None,
) -> Operand:
    (sign, first), *rest = terms
    steps = [("add" if s > 0 else "subtract", term) for s, term in rest]
    if sign > 0:
        return _chain(sheet, first, steps, parts, out, spare)
    return _chain(sheet, Sum(((-1, first),)), steps, parts, out, spare)


def _chain(
    sheet: Sheet,
    first: Tree,
    steps: Sequence[tuple[str, Tree]],
    parts: Sequence[Operand],
    out: Operand | None,
    spare: Operand | None,
) -> Operand:
    """Return the result of one operation after the other, from the left."""
    value = _inner(sheet, first, parts, spare if steps else out)
    if not steps:
        return put(sheet, value, out)
    for i, (name, tree) in enumerate(steps):
        operand = _inner(sheet, tree, parts, _later(spare, value))
        if i == len(steps) - 1:
            return apply(sheet, name, [value, operand], out)
        shape = broadcast(value.shape, operand.shape)
        fits = spare is not None and spare.shape == shape and (value.lead or operand.lead)
        value = apply(sheet, name, [value, operand], spare if fits else None)
    raise AssertionError(steps)


def _function(
    sheet: Sheet,
    name: str,
    args: Sequence[Tree],
    parts: Sequence[Operand],
    out: Operand | None,
    spare: Operand | None,
    more: Sequence[str] = (),
) -> Operand:
    found: list[Operand] = []
    for arg in args:
        found.append(_inner(sheet, arg, parts, _later(spare, *found)))
    return apply(sheet, name, [*found, *map(number, more)], out)


def apply(sheet: Sheet, name: str, args: Sequence[Operand], out: Operand | None) -> Operand:
    """Return the value of a NumPy function, written into `out`, or over an argument that nothing else reads, or into an
    array of the workspace."""
    shape = broadcast(*(a.shape for a in args))
    if name in SIGNS and all(a.bare for a in args):  # NumPy's numbers are doubles, as is all that meets them
        return put(sheet, number(_of_numbers(name, [a.text for a in args])), out)
    if not any(a.lead for a in args):
        text = f"np.{name}({', '.join(a.text for a in args)})"
        return put(sheet, sheet.view(Operand("", "v", shape, settled=True), text, shape, solid=True), out)
    # Elementwise functions may overwrite an argument of the shape and type of the result: NumPy reads an element before
    # it writes it.
    own = (a for a in args if a.room and a.solid and a.shape == shape and a.lead and a.kind == "dtype")
    target = out or next(own, None)
    target = target or sheet.room(shape, front=any(a.front for a in args))
    sheet.call(f"np.{name}({', '.join(constant(sheet, a).text for a in args)}, out={target.text})")
    sheet.free(args, besides=target.room)
    return target


def _of_numbers(name: str, texts: Sequence[str]) -> str:
    """Return the text of an operation on two numbers: its value where both are literals and it is finite."""
    sign, function = SIGNS[name]
    # Division by zero and overflow are left to the module.
    numbers = [float(found[1]) for found in map(LITERAL.fullmatch, texts) if found]
    if len(numbers) == 2 and (name != "divide" or numbers[1]) and math.isfinite(value := function(*numbers)):
        return bracket((repr(value), SUM if value < 0 else ATOM), ATOM)
    return f" {sign} ".join(text if re.fullmatch(r"[\w.]+", text) else f"({text})" for text in texts).join("()")


def constant(sheet: Sheet, of: Operand) -> Operand:
    """Return a Python number in a loop as an array without axes, which calls take faster than a number."""
    if not of.bare or sheet.lead != LOOP_AXES:
        return of
    return sheet.view(Operand("", NAMES.get(of.text, "v"), ()), f"np.array({of.text}, dtype)", ())


def _call(
    sheet: Sheet,
    name: str,
    args: Sequence[Tree],
    parts: Sequence[Operand],
    out: Operand | None,
    spare: Operand | None,
) -> Operand:
    if name == "where":
        return _where(sheet, args, parts, out)
    if name == "stop_gradient":
        return put(sheet, _inner(sheet, args[0], parts, out), out)
    if name == "sigmoid":
        # 1 / (1 + exp(-x)) is exact in relative terms for small values too, where (1 + tanh(x / 2)) / 2 cancels.
        chain = Prod((Num(sp.Integer(1)),), (Sum(((1, Num(sp.Integer(1))), (1, Call("exp", (_minus(args[0]),))))),))
        return _value(sheet, chain, parts, out, spare)
    code = ops.BY_NAME[name].code
    comparison = re.fullmatch(r"\(\{0\} (\S+) \{1\}\)", code)
    if comparison:
        return _function(sheet, UFUNCS[comparison[1]], args, parts, out, spare)
    ufunc = re.fullmatch(r"np\.(\w+)\(\{0\}(?:, (?:\{1\}|(\d+)))?\)", code)
    if ufunc:
        return _function(sheet, ufunc[1], args, parts, out, spare, [ufunc[2]] if ufunc[2] else [])
    found = [_inner(sheet, arg, parts, None) for arg in args]
    target = out or sheet.room(broadcast(*(a.shape for a in found)))
    sheet.call(f"np.copyto({target.text}, {code.format(*(bracket(a.written, PRODUCT) for a in found))})")
    sheet.free(found)
    return target


def _minus(tree: Tree) -> Tree:
    if isinstance(tree, Sum) and len(tree.terms) == 1 and tree.terms[0][0] < 0:
        return tree.terms[0][1]
    return Sum(((-1, tree),))


def condition(sheet: Sheet, tree: Tree, parts: Sequence[Operand]) -> Operand:
    """Return a tree as an operand of False and True."""
    found = _inner(sheet, tree, parts, None) if not _is_condition(tree) else None
    if found is not None and found.kind == "bool":
        return found
    if found is not None:
        return _as_condition(sheet, found)
    target = sheet.room(shape_of(tree, parts), kind="bool")
    return _value(sheet, tree, parts, target, None)


def _as_condition(sheet: Sheet, of: Operand) -> Operand:
    """Return numbers as False and True.

    Those of a step's array, which does not change, are taken from the array of the last conversion, if that is free and
    has not been used since.
    """
    known = sheet.rooms.again(of.text) if of.stepped else None
    if known is not None:
        return known
    target = sheet.room(of.shape, kind="bool")
    sheet.call(f"np.not_equal({of.text}, 0, out={target.text})")
    if of.stepped:
        sheet.rooms.conditions[of.text] = target
    sheet.free([of])
    return target


def _where(sheet: Sheet, args: Sequence[Tree], parts: Sequence[Operand], out: Operand | None) -> Operand:
    """Return a choice: both sides are computed, and the one where the condition holds is copied over the other."""
    shape = broadcast(*(shape_of(arg, parts) for arg in args))
    varies = any(parts[i].lead for i in indices(args[0]))
    choices = [_inner(sheet, arg, parts, None) for arg in args[1:]]
    if varies:
        test = condition(sheet, args[0], parts)
    else:
        test = sheet.view(
            number(""), f"({body_text(args[0], [p.written for p in parts])[0]}) != 0", shape_of(args[0], parts)
        )
    target = out
    # A side that lies in the output would be overwritten by the first copy.
    if out is None or any(out.base and o.base == out.base for o in [*choices, test]):
        target = sheet.room(shape)
    assert target is not None
    sheet.call(f"np.copyto({target.text}, {choices[1].text})")
    sheet.call(f"np.copyto({target.text}, {choices[0].text}, where={test.text})")
    sheet.free([*choices, test])
    return put(sheet, target, out)
