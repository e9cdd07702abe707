"""What a generated module calls, seen at run time: every product, in a loop or not, with the shapes of its operands."""

import ast
from collections import Counter
from typing import Any

import numpy as np

Call = tuple[str, bool, tuple[tuple[int, ...], ...]]


class _Marked(ast.NodeTransformer):
    """Products as calls of `_seen(in a loop, name, ...)`."""

    def __init__(self) -> None:
        self.depth = 0

    def visit_For(self, node: ast.For) -> ast.AST:
        node.iter = self.visit(node.iter)
        self.depth += 1
        node.body = [self.visit(child) for child in node.body]
        self.depth -= 1
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return self._call("matmul", [node.left, node.right], []) if isinstance(node.op, ast.MatMult) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = ast.unparse(node.func).removeprefix("np.")
        return self._call(name, node.args, node.keywords) if name in ("matmul", "einsum") else node

    def _call(self, name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
        marks = [ast.Constant(self.depth > 0), ast.Constant(name)]
        return ast.Call(ast.Name("_seen", ast.Load()), [*marks, *args], keywords)


def products_of(source: str, run: Any) -> Counter[Call]:
    """The products that a module calls while `run` is given its names."""
    found: Counter[Call] = Counter()

    def seen(inside: bool, name: str, *args: Any, **kwargs: Any) -> Any:
        found[name, inside, tuple(np.shape(a) for a in args if isinstance(a, np.ndarray))] += 1
        return getattr(np, name)(*args, **kwargs)

    names: dict[str, Any] = {"_seen": seen, "__name__": "seen"}
    exec(compile(ast.fix_missing_locations(_Marked().visit(ast.parse(source))), "<a module>", "exec"), names)
    run(names)
    return found
